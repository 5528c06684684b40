"""The package as a whole: what it exports, and what its documentation shows."""

from __future__ import annotations

import pkgutil
import re
from importlib.metadata import metadata, requires, version

import pagebuddy

MODULES = sorted(module.name for module in pkgutil.walk_packages(pagebuddy.__path__, "pagebuddy."))


def test_every_export_exists_once() -> None:
    assert len(set(pagebuddy.__all__)) == len(pagebuddy.__all__)
    for name in pagebuddy.__all__:
        assert getattr(pagebuddy, name) is not None


def test_everything_public_is_exported() -> None:
    public = {name for name in vars(pagebuddy) if not name.startswith("_")}
    submodules = {name.partition(".")[2] for name in MODULES}
    assert public - submodules <= set(pagebuddy.__all__)


def test_version_and_requirements() -> None:
    assert pagebuddy.__version__ == version("pagebuddy")
    assert re.fullmatch(r"\d+\.\d+\.\d+", pagebuddy.__version__)
    unconditional = [requirement for requirement in requires("pagebuddy") or [] if "extra ==" not in requirement]
    assert [re.split(r"[<>=]", requirement)[0] for requirement in unconditional] == ["numpy"]
    assert metadata("pagebuddy")["License-Expression"] == "MIT OR Apache-2.0"


def test_every_export_is_documented() -> None:
    undocumented = [
        name
        for name in pagebuddy.__all__
        if callable(getattr(pagebuddy, name)) and not (getattr(pagebuddy, name).__doc__ or "").strip()
    ]
    assert undocumented == []
