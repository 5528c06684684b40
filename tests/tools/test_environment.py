"""The maker of the virtual environment: which requirements, and when to build."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import environment

from .tree import write

PROJECT = {
    "build-system": {"requires": ["builder>=1"]},
    "project": {
        "name": "it",
        "dependencies": ["base>=1"],
        "optional-dependencies": {
            "a": ["one==1"],
            "b": ["two", "it[a]"],
            "all": ["it[a, b]", "three"],
            "loop": ["it[loop]"],
        },
    },
}


@pytest.mark.parametrize(
    ("extras", "expected"),
    [
        ([], []),
        (["a"], ["one==1"]),
        (["b"], ["one==1", "two"]),
        (["all", "a"], ["one==1", "three", "two"]),
        (["loop"], []),
    ],
)
def test_requirements(extras: list[str], expected: list[str]) -> None:
    assert environment.requirements(PROJECT, extras) == sorted(["base>=1", "builder>=1", *expected])


def test_an_unknown_extra_is_an_error() -> None:
    with pytest.raises(KeyError):
        environment.requirements(PROJECT, ["nonsense"])


def test_the_fingerprint_sees_names_and_contents(tmp_path: Path) -> None:
    names = ("rust", "one.toml")
    write(tmp_path, {"one.toml": "1", "rust/src/a.rs": "a", "rust/target/x.rs": "x", "rust/tests/t.rs": "t"})
    seen = {environment.fingerprint(names, tmp_path)}

    def changes(text: dict[str, str]) -> bool:
        before = len(seen)
        write(tmp_path, text)
        seen.add(environment.fingerprint(names, tmp_path))
        return len(seen) > before

    assert not changes({"one.toml": "1"})
    assert not changes({"rust/target/x.rs": "y", "rust/tests/t.rs": "u", "rust/src/__pycache__/a.pyc": ""})
    assert changes({"one.toml": "2"})
    assert changes({"rust/src/a.rs": "b"})
    assert changes({"rust/src/new.rs": ""})
    (tmp_path / "rust/src/new.rs").rename(tmp_path / "rust/src/newer.rs")
    assert changes({})
