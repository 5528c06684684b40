"""Reads Rust sources as far as the checks need it: what is code, what is comment, which module a line belongs to.

This is no parser. It knows comments, literals, braces, attributes and ``mod`` items, which suffices to find paths and
names without being fooled by text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_TOKEN = re.compile(
    r"""
    (?P<line>//[^\n]*)
  | (?P<block>/\*)
  | (?P<raw>\b(?:r|br|cr)(?P<hashes>\#*)")
  | (?P<string>\b[bc]?"|")
  | (?P<char>b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^'\\\n])')
    """,
    re.VERBOSE,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_STRING_END = re.compile(r'(?:[^"\\]|\\.)*"', re.DOTALL)
_CFG_TEST = re.compile(r"#\[cfg\((?:test|all\([^]]*\btest\b[^]]*\))\)\]")
_MOD = re.compile(r"\bmod\s+(?P<name>\w+)\s*(?P<open>[{;])")


def _blank(text: str) -> str:
    """The same lines, empty."""
    return re.sub(r"[^\n]", " ", text)


def split_comments(text: str) -> tuple[str, str]:
    """Separates code from comments.

    Args:
        text: A Rust source.

    Returns:
        Two texts of the same length and lines: the code with comments and the insides of literals blanked, and the
        comments with everything else blanked.
    """
    code: list[str] = []
    comments: list[str] = []
    position = 0
    while match := _TOKEN.search(text, position):
        start, end = match.span()
        is_comment = False
        if match["line"] is not None:
            is_comment = True
        elif match["block"] is not None:
            is_comment = True
            end = _end_of_block(text, end)
        elif match["raw"] is not None and ("r" in match["raw"]):
            closing = '"' + match["hashes"]
            at = text.find(closing, end)
            end = len(text) if at < 0 else at + len(closing)
        elif match["char"] is None:
            found = _STRING_END.match(text, text.index('"', start) + 1)
            end = found.end() if found else len(text)
        code.append(text[position:start] + _blank(text[start:end]))
        comments.append(_blank(text[position:start]) + (text[start:end] if is_comment else _blank(text[start:end])))
        position = end
    code.append(text[position:])
    comments.append(_blank(text[position:]))
    return "".join(code), "".join(comments)


def _end_of_block(text: str, position: int) -> int:
    """Where the block comment ends whose opening ends at a position; they nest."""
    depth = 1
    for edge in _BLOCK_EDGE.finditer(text, position):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(text)


def closing_brace(code: str, opening: int) -> int:
    """Position of the brace that closes the one at a position; the text's end if there is none."""
    depth = 0
    for match in re.compile(r"[{}]").finditer(code, opening):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.start()
    return len(code)


@dataclass(frozen=True)
class RustFile:
    """One source file.

    Args:
        path: Where it is.
        module: Its module path below the crate's root, such as ``("layout", "zones")``; empty for lib.rs.
        text: Its content.
    """

    path: Path
    module: tuple[str, ...]
    text: str

    @cached_property
    def _parts(self) -> tuple[str, str]:
        return split_comments(self.text)

    @property
    def all_code(self) -> str:
        """The code, literals blanked, tests included."""
        return self._parts[0]

    @property
    def comments(self) -> str:
        """The comments, everything else blanked."""
        return self._parts[1]

    @cached_property
    def code(self) -> str:
        """The code without inline modules and items that only exist for tests."""
        code = self.all_code
        for attribute in reversed(list(_CFG_TEST.finditer(code))):
            end = _end_of_item(code, attribute.end())
            code = code[: attribute.start()] + _blank(code[attribute.start() : end]) + code[end:]
        return code

    @cached_property
    def test_modules(self) -> set[str]:
        """Names of the modules in files of their own that only exist for tests."""
        names = set()
        for attribute in _CFG_TEST.finditer(self.all_code):
            declared = re.compile(r"(?:\s*#\[[^]]*\])*\s*(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;").match(
                self.all_code, attribute.end()
            )
            if declared:
                names.add(declared[1])
        return names

    @cached_property
    def inline_modules(self) -> list[tuple[int, int, str]]:
        """Start, end and name of every ``mod name { ... }``."""
        return [
            (match.start(), closing_brace(self.code, match.end() - 1), match["name"])
            for match in _MOD.finditer(self.code)
            if match["open"] == "{"
        ]

    def module_at(self, position: int) -> tuple[str, ...]:
        """Module path of the code at a position."""
        inner = tuple(name for start, end, name in self.inline_modules if start <= position < end)
        return self.module + inner

    def line_of(self, position: int) -> int:
        """Number of the line at a position, counted from 1."""
        return self.text.count("\n", 0, position) + 1


def _end_of_item(code: str, position: int) -> int:
    """Where the item that follows an attribute ends: behind its braces or its semicolon."""
    depth = 0
    for match in re.compile(r"[;{()\[\]]").finditer(code, position):
        if match[0] in "([":
            depth += 1
        elif match[0] in ")]":
            depth -= 1
        elif depth == 0:
            return match.end() if match[0] == ";" else closing_brace(code, match.start()) + 1
    return len(code)


def read_crate(root: Path) -> list[RustFile]:
    """Every file of a crate that is not only for tests, ordered by module.

    Args:
        root: The folder with lib.rs.
    """
    files = []
    for path in sorted(root.rglob("*.rs")):
        parts = path.relative_to(root).with_suffix("").parts
        module = parts[:-1] if parts[-1] in {"mod", "lib"} else parts
        files.append(RustFile(path, module, path.read_text(encoding="utf-8")))
    tests = {(*file.module, name) for file in files for name in file.test_modules}
    return [file for file in files if not any(file.module[: len(test)] == test for test in tests)]
