"""The check of layers finds what it must find, and nothing in this working copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.found import ROOT
from tools import check_layers

from .tree import write

TABLE = """
[core]
layers = [["low", "sync"], ["middle"], ["high", "other"]]
internal = ["low", "sync"]
[crates]
users = ["rust/py/src"]
[unsafe]
allowed = ["rust/core/src/sync"]
[files]
max_lines = 20
folders = ["rust", "python"]
[python]
package = "python/pagebuddy"
native = "_pagebuddy"
importers = ["__init__.py"]
"""

CORE = "rust/core/src/"
GOOD = {
    "tools/layers.toml": TABLE,
    CORE + "lib.rs": "pub mod low; pub mod sync; pub mod middle; pub mod high; pub mod other;",
    CORE + "low.rs": "// unsafe in a comment\n/// see [`crate::high`]\npub struct Low;",
    CORE + "sync.rs": "pub fn f() { unsafe { g() } }",
    CORE + "middle.rs": "use crate::low::Low;\n#[cfg(test)]\nmod tests { use crate::high; use super::*; }",
    CORE + "high/mod.rs": "mod part; use crate::{low, middle::{self, X}}; use super::middle;",
    CORE + "high/part.rs": "use super::X; use super::super::middle; use crate::high::Y;",
    CORE + "other.rs": "",
    "rust/py/src/lib.rs": "use pagebuddy_core::{high, middle};",
    "python/pagebuddy/__init__.py": "from pagebuddy._pagebuddy import x",
    "python/pagebuddy/tool.py": "from pagebuddy import x",
}


def problems(root: Path, changed: dict[str, str]) -> list[str]:
    assert changed.keys() <= GOOD.keys()
    return check_layers.check(write(root, GOOD | changed))


def test_this_working_copy() -> None:
    assert check_layers.check(ROOT) == []


def test_a_good_one(tmp_path: Path) -> None:
    assert problems(tmp_path, {}) == []


TOOL = "python/pagebuddy/tool.py"


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (CORE + "low.rs", "\nuse crate::middle::X;", "low.rs:2: low (layer 0) uses middle (layer 1)"),
        (CORE + "low.rs", "fn f() { crate::high::g() }", "low.rs:1: low (layer 0) uses high (layer 2)"),
        (CORE + "low.rs", "use crate::{\n  sync,\n};", "low.rs:2: low (layer 0) uses sync (layer 0)"),
        (CORE + "other.rs", "use crate::{low,\n  high::part};", "other.rs:2: other (layer 2) uses high (layer 2)"),
        (CORE + "middle.rs", "use super::other::X;", "middle.rs:1: middle (layer 1) uses other (layer 2)"),
        (CORE + "high/part.rs", "use super::super::other;", "high/part.rs:1: high (layer 2) uses other (layer 2)"),
        (CORE + "other.rs", "use crate::*;", "other.rs:1: imports everything"),
        (CORE + "middle.rs", "unsafe fn f() {}", "middle.rs:1: unsafe code"),
        (CORE + "middle.rs", "#[cfg(test)]\nmod t { unsafe fn f() {} }", "middle.rs:2: unsafe code"),
        (CORE + "other.rs", "\n" * 21, "other.rs: 21 lines, more than 20"),
        ("rust/py/src/lib.rs", "use pagebuddy_core::sync::X;", "lib.rs:1: uses the core's internal module sync"),
        ("rust/py/src/lib.rs", "use pagebuddy_core::{high, low::L};", "lib.rs:1: uses the core's internal module low"),
        ("rust/py/src/lib.rs", "fn f() { unsafe { g() } }", "lib.rs:1: unsafe code"),
        (TOOL, "x = 1\nfrom pagebuddy._pagebuddy import y", "tool.py:2: imports the native module"),
        (TOOL, "def f():\n    from . import _pagebuddy", "tool.py:2: imports the native module"),
        (TOOL, "import pagebuddy._pagebuddy as n", "tool.py:1: imports the native module"),
        ("tools/layers.toml", TABLE.replace(', "other"', ""), "layers.toml: module other has no layer"),
        ("tools/layers.toml", TABLE.replace('"other"', '"other", "gone"'), "layers.toml: module gone does not exist"),
    ],
)
def test_every_fault_is_found(tmp_path: Path, name: str, text: str, expected: str) -> None:
    found = problems(tmp_path, {name: text})
    assert len(found) == 1
    assert expected in found[0]
