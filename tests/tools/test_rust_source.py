"""The reader of Rust sources tells code from comments, literals and tests."""

from __future__ import annotations

from pathlib import Path

from tools.rust_source import RustFile, read_crate, split_comments

from .tree import write


def file(text: str, *module: str) -> RustFile:
    return RustFile(Path("x.rs"), module, text)


def test_comments_and_literals_are_no_code() -> None:
    text = """let a = "unsafe \\" // x"; // unsafe
let b = r#"unsafe " "#; /* unsafe /* nested */ unsafe */ let c = '"'; let d = b'\\''; let e: &'static str = f;
"""
    code, comments = split_comments(text)
    assert len(code) == len(comments) == len(text)
    assert "unsafe" not in code
    assert comments.count("unsafe") == 3
    assert "&'static str = f;" in code
    assert code.count("let") == 5


def test_tests_are_no_product_code() -> None:
    source = file(
        """
fn a() { x() }
#[cfg(test)]
fn b(y: [u8; 4]) { x() }
#[cfg(all(test, feature = "f"))]
mod tests {
    fn c() { x() }
}
#[cfg(test)]
use q::x;
fn d() { x() }
"""
    )
    assert source.code.count("x()") == 2
    assert source.all_code.count("x()") == 4
    assert "use q" not in source.code
    assert source.code.count("\n") == source.text.count("\n")


def test_inline_modules_have_paths() -> None:
    source = file("mod inner { fn f() {} } fn g() {}", "outer")
    assert source.module_at(source.text.index("fn f")) == ("outer", "inner")
    assert source.module_at(source.text.index("fn g")) == ("outer",)


def test_a_crate_without_its_test_modules(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "lib.rs": "mod a; mod b;",
            "a/mod.rs": "mod c;\n#[cfg(test)]\nmod tests;",
            "a/c.rs": "",
            "a/tests.rs": "",
            "a/tests/deep.rs": "",
            "b.rs": "",
        },
    )
    assert sorted(module.module for module in read_crate(tmp_path)) == [(), ("a",), ("a", "c"), ("b",)]
