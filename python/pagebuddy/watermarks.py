"""The watermarks of a zone."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Watermarks"]


class Watermarks(NamedTuple):
    """Watermarks of a zone in pages, without the boost.

    Source: ``enum zone_watermarks`` in include/linux/mmzone.h.

    Example:
        >>> low = Watermarks(63, 78, 93).low
        >>> low
        78
    """

    #: Below this only requests that may use reserves are served.
    min: int
    #: Below this kswapd is woken.
    low: int
    #: Up to this kswapd frees pages.
    high: int
