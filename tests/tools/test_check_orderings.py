"""The check of orderings finds what it must find, and nothing in this working copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.found import ROOT
from tools import check_orderings

from .tree import write

MODEL = """
| id | writer | reader | published | covered by |
|---|---|---|---|---|
| P1 | a | b | c | `tests/t.rs` |
| S1 | a | b | c | none yet |

| id | where | why |
|---|---|---|
| R1 | a | b |
"""

CODE = """
use crate::sync::{AcqRel, Acquire, Release, Relaxed};
fn f(a: &A) {
    a.load(Relaxed); // ORDERING(R1)
    a.store(1, Release); // ORDERING(P1): publishes
    // ORDERING(P1)
    a.load(Ordering::Acquire);
    // ORDERING(S1)
    a.compare_exchange(
        0,
        1,
        SeqCst,
        Relaxed,
    );
    match x.cmp(y) { Ordering::Less => {} }
}
#[cfg(test)]
mod tests { fn t(a: &A) { a.load(SeqCst); } }
"""


def problems(root: Path, code: str = CODE, model: str = MODEL) -> list[str]:
    files = {
        "docs/memory-model.md": model,
        "tests/t.rs": "",
        "rust/core/src/lib.rs": "mod sync; mod a;",
        "rust/core/src/sync.rs": "fn f() { fence(SeqCst) }",
        "rust/core/src/a.rs": code,
    }
    return check_orderings.check(write(root, files))[0]


def test_this_working_copy() -> None:
    found, notes = check_orderings.check(ROOT)
    assert found == []
    assert int(notes[0].split()[0]) > 100


def test_a_good_one(tmp_path: Path) -> None:
    assert problems(tmp_path) == []


def test_untested_pairs_are_told(tmp_path: Path) -> None:
    problems(tmp_path)
    assert check_orderings.check(tmp_path)[1] == ["5 orderings, 2 pairs, 1 relaxed-only ids", "no test covers S1 yet"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (" // ORDERING(R1)", "", "rust/core/src/a.rs:4: Relaxed without a comment"),
        ("(P1): publishes", "(P2): publishes", "rust/core/src/a.rs:5: ORDERING(P2) is not defined"),
        ("(P1): publishes", "(R1): publishes", "rust/core/src/a.rs:5: Release is explained by R1, which explains"),
        ("a.store(1, Release)", "a.store(1, Relaxed)", "docs/memory-model.md: P1 has no writing side"),
        ("a.load(Ordering::Acquire)", "a.load(Ordering::Relaxed)", "docs/memory-model.md: P1 has no reading side"),
        (
            "use crate::sync::{AcqRel,",
            "use crate::sync::{AcqRel as X,",
            "rust/core/src/a.rs:2: an ordering is imported",
        ),
        ("    // ORDERING(S1)\n", "\n" * 5, "rust/core/src/a.rs:16: SeqCst without a comment"),
    ],
)
def test_faults_in_the_sources(tmp_path: Path, before: str, after: str, expected: str) -> None:
    assert before in CODE
    found = problems(tmp_path, code=CODE.replace(before, after))
    assert any(problem.startswith(expected) for problem in found), found


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("| P1 | a | b | c | `tests/t.rs` |", "", "rust/core/src/a.rs:5: ORDERING(P1) is not defined"),
        ("| P1 | a | b | c |", "| P1 | a | -- | c |", "docs/memory-model.md:4: P1 says nothing under 'reader'"),
        ("| P1 | a | b | c |", "| P1 | a | b |", "docs/memory-model.md:4: P1 needs the columns"),
        (
            "`tests/t.rs`",
            "`tests/gone.rs`",
            "docs/memory-model.md: P1 is covered by tests/gone.rs, which does not exist",
        ),
        ("| R1 | a | b |", "| R1 | a | b |\n| R1 | a | b |", "docs/memory-model.md:10: R1 is defined twice"),
        ("| R1 | a | b |", "| R1 | a | b |\n| R2 | a | b |", "docs/memory-model.md: R2 is used nowhere"),
        ("| S1 |", "| S2 | a | b | c | none yet |\n| S1 |", "docs/memory-model.md: S2 is used nowhere"),
    ],
)
def test_faults_in_the_document(tmp_path: Path, before: str, after: str, expected: str) -> None:
    assert before in MODEL
    found = problems(tmp_path, model=MODEL.replace(before, after))
    assert any(problem.startswith(expected) for problem in found), found


def test_a_failure_ordering_is_no_writing_side(tmp_path: Path) -> None:
    code = CODE.replace("a.store(1, Release)", "a.compare_exchange(0, 1, Acquire, Acquire)")
    assert "docs/memory-model.md: P1 has no writing side in the sources, only reading ones" in problems(tmp_path, code)


def test_several_ids_in_one_comment(tmp_path: Path) -> None:
    code = CODE.replace("ORDERING(S1)", "ORDERING(P1, S1)")
    assert problems(tmp_path, code) == []


def test_a_missing_document(tmp_path: Path) -> None:
    problems(tmp_path)
    (tmp_path / "docs/memory-model.md").unlink()
    assert check_orderings.check(tmp_path)[0] == ["docs/memory-model.md is missing"]
