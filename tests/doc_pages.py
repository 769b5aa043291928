"""README.md and the pages of docs, for the tests of them: their prose, code blocks, commands and tables."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "tabcohort"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
OMITTED = "..."
NUMBER = re.compile(r"(?<!\w)[+-]?\d[\d.,e+-]*")


@dataclass(frozen=True)
class Block:
    """A code block of a page; `line` is where its text begins, counted from 1."""

    language: str
    title: str | None
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A command of a page as its arguments, and the lines of output that are shown below it."""

    arguments: list[str]
    shown: list[str]


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose_of(page: Path) -> str:
    """Return a page without its code blocks, and without what a notebook has before its first line."""
    return FENCE.sub("", FRONT_MATTER.sub("", read(page)))


def blocks_of(page: Path, *languages: str) -> list[Block]:
    """Return the code blocks of a page in these languages."""
    text = read(page)
    matches = [match for match in FENCE.finditer(text) if match[1] in languages]
    return [Block(match[1], match[2], match[3], text.count("\n", 0, match.start(3)) + 1) for match in matches]


def commands_of(page: Path) -> list[Command]:
    """Return the commands of a page; `make demo` is the command that the Makefile has for it."""
    (demo,) = re.findall(r"^demo:.*\n\t@\$\(BIN\)/tabcohort (.*)$", MAKEFILE, re.MULTILINE)
    commands: list[Command] = []
    for block in blocks_of(page, "console", "bash", "sh"):
        text = block.text.replace("$ make demo", f"$ tabcohort {demo}")
        for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
            line, *shown = part.splitlines()
            if line.startswith("tabcohort "):
                commands.append(Command(shlex.split(line)[1:], shown))
    return commands


def pages_with(*languages: str) -> pytest.MarkDecorator:
    """Parametrize a test by the pages that have code blocks in these languages."""
    return pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page, *languages)], ids=name_of)


EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=name_of)


def table_rows(pages: str, *columns: str) -> list[tuple[str, ...]]:
    """Return the cells of the tables of these pages, a glob, that have this many columns, each of this pattern."""
    cells = r" \| ".join(f"({column})" for column in columns)
    return re.findall(rf"^\| {cells} \|$", "\n".join(map(read, sorted(DOCS.glob(pages)))), re.MULTILINE)


def numbers_in(text: str) -> set[str]:
    """Return the numbers of a text as they are written, without the punctuation behind them."""
    return {number.rstrip(".,-+") for number in NUMBER.findall(text)}
