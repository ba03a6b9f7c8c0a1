"""The pages of the documentation, and their contents."""

import ast
import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("deploy/**/*.md")])
GENERAL: Final = frozenset({"CHANGELOG.md", "CONTRIBUTING.md"})
"""Pages about the development."""


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the arguments of every call of the program in blocks for a shell or a terminal."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    lines += [
        line.removeprefix("$ ") for block in blocks(page, "text") for line in block.splitlines() if line[:2] == "$ "
    ]
    for line in lines:
        yield from (words[1:] for words in _split(line) if words[0] == "backhaul")


def mentions(page: Path) -> list[str]:
    """Return what follows the program's name where the text names a command."""
    return re.findall(r"`backhaul ([^`\d][^`]*)`", page.read_text(encoding="utf-8"))


def _split(line: str) -> Iterator[list[str]]:
    """Yield the commands of a line."""
    words: list[str] = []
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.commenters = "#"
    for word in (*lexer, ";"):
        if set(word) <= set(";&|<>()"):
            if words:
                yield words
            words = []
        else:
            words.append(word)


@functools.cache
def texts(folder: Path) -> set[str]:
    """Return the texts in the source below a folder; ``…`` stands for what is put into them."""
    return {
        text
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (text := _text(node))
    }


def _text(node: ast.AST) -> str:
    match node:
        case ast.Constant(value=str() as value):
            return re.sub(r"%(?:[sdrg]|\.0f)|\{\w*\}", "…", value)
        case ast.JoinedStr(values=values):
            return "".join(_text(value) or "…" for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return (_text(left) or "…") + (_text(right) or "…")
    return ""
