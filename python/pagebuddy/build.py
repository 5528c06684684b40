"""What this build is."""

from __future__ import annotations

from typing import Any

from pagebuddy._pagebuddy import _build_info

__all__ = ["build_info"]


def build_info() -> dict[str, dict[str, Any]]:
    """What this build is and how far the engine reaches.

    Returns:
        Two dicts: ``"build"`` with the modelled kernel, the target, the profile of the native module and the version of
        the layout of segments; ``"limits"`` with the largest numbers of orders, migratetypes, zones of a node, nodes,
        cpus, page frame numbers and pages in a zone. An option of a machine may be any number up to these.

    Example:
        >>> build_info()["build"]["kernel"], build_info()["limits"]["orders"]
        ('5.17.9', 11)
    """
    return _build_info()
