"""Every example in a docstring, of the native classes too, does what it shows."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import pytest

import pagebuddy


def modules() -> Iterator[ModuleType]:
    yield pagebuddy
    for info in pkgutil.walk_packages(pagebuddy.__path__, "pagebuddy."):
        if not info.name.endswith("__main__"):
            yield importlib.import_module(info.name)


def documented() -> Iterator[tuple[str, str]]:
    """Names and docstrings of modules, classes, functions and whatever a class holds."""
    seen = set()
    for module in modules():
        yield module.__name__, module.__doc__ or ""
        for name, value in vars(module).items():
            if not (inspect.isclass(value) or inspect.isroutine(value)) or id(value) in seen:
                continue
            if not getattr(value, "__module__", "").startswith("pagebuddy"):
                continue
            seen.add(id(value))
            yield f"{module.__name__}.{name}", value.__doc__ or ""
            if inspect.isclass(value):
                for inner in vars(value):
                    document = getattr(getattr(value, inner), "__doc__", None)
                    if isinstance(document, str):
                        yield f"{module.__name__}.{name}.{inner}", document


EXAMPLES = {name: text for name, text in documented() if ">>>" in text}


def test_there_are_examples() -> None:
    names = {name.rpartition(".")[2] for name in EXAMPLES}
    assert {"alloc_pages", "free_pages", "alloc_pages_bulk", "boot", "simple", "page_map", "buddyinfo"} <= names
    assert {"Memblock", "Config", "MemPolicy", "Zone", "AllocationFailed"} <= names


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name: str) -> None:
    names = {key: value for key, value in vars(pagebuddy).items() if not key.startswith("__")}
    example = doctest.DocTestParser().get_doctest(EXAMPLES[name], names, name, None, 0)
    report: list[str] = []
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(
        example, out=report.append
    )
    assert results.failed == 0, "".join(report)
    assert results.attempted > 0
