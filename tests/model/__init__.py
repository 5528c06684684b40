"""The sequential reference model: the page allocator of Linux 5.17.9 in plain Python.

It is written from the behavioural specification alone, shares no code with the product and is judged by recordings of
the real kernel (``recordings.py``). One call after the other, no concurrency, no cleverness: where the product and this
model differ, one of them is wrong. Comments name the chapter of the specification ("spec 07.5").
"""

from .config import Config
from .page_alloc import PageAllocatorModel
from .sizing import sized_model
from .sysctl import Tunables
from .zone import Zone

__all__ = ["Config", "PageAllocatorModel", "Tunables", "Zone", "sized_model"]
