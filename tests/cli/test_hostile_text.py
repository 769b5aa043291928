"""Names, labels and cells that are code elsewhere come out inert in whatever a command prints or writes."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from shell import QUICK, SMALL, Run

MARK = "owned"
SCRIPT, IMAGE = f"<script>{MARK}()</script>", f'"><img src=x onerror={MARK}()>'
FORMULA = f"=cmd|' /C {MARK}'!A0"
TERMINAL = f"\x1b]0;{MARK}\x07\x1b[2Jname\x9b31m"
BIDI = "user\u202etxt.exe\u2066"
MARKUP = f"[bold]{MARK}[/red] ${{{MARK}}} {{{{{MARK}}}}} ![x](javascript:{MARK}())"
PAYLOADS = (SCRIPT, IMAGE, FORMULA, TERMINAL, BIDI, MARKUP)
FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # all but tab and newline


class _Elements(HTMLParser):
    """Collects what a browser would run or fetch for a page, where it comes from a payload."""

    def __init__(self) -> None:
        super().__init__()
        self.active: list[str] = []
        self._script = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Look at the attributes that run or fetch something."""
        self._script = dict(attributes).get("type") or "javascript" if tag == "script" else ""
        for name, value in attributes:
            text = (value or "").lower()
            if name.startswith("on") or (name in ("href", "src", "action") and "javascript:" in text):
                self.active.append(f"{tag} {name}={value}")
        if tag in ("iframe", "object", "embed", "base"):
            self.active.append(tag)

    def handle_data(self, data: str) -> None:
        """Look for a payload in a script that is no data."""
        if self._script == "javascript" and MARK in data:
            self.active.append(data)
        self._script = ""


def active_elements(page: str) -> list[str]:
    """Return what a browser would run or fetch for a payload."""
    parser = _Elements()
    parser.feed(page)
    return parser.active


def hostile_frame() -> pl.DataFrame:
    """Return rows whose names, levels, keys and classes are payloads."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=120)
    columns = {
        SCRIPT: size,
        IMAGE: [PAYLOADS[i % len(PAYLOADS)] for i in range(120)],
        TERMINAL: rng.normal(size=120),
        BIDI: rng.integers(0, 2, 120).astype(bool),
        MARKUP: [f"key {FORMULA}{i // 2}" for i in range(120)],
        FORMULA: np.where(size + rng.normal(size=120) * 0.3 > 0, TERMINAL + SCRIPT, BIDI + IMAGE),
    }
    return pl.DataFrame({name: pl.Series(name, cells) for name, cells in columns.items()})


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with these rows."""
    path = tmp_path_factory.mktemp("hostile") / "rows.parquet"
    hostile_frame().write_parquet(path)
    return path


COLUMNS = ("--target", FORMULA, "--key", MARKUP)
COMMANDS = {
    "look": ["look", "TABLE", *COLUMNS, "--html", "look.html"],
    "fit": ["fit", "TABLE", *COLUMNS, *QUICK, *SMALL, "--out", "again.tabcohort", "--report", "fit.html", "--card",
            "fit.md", "--record", "run.jsonl"],
    "info": ["info", "m.tabcohort"],
    "predict": ["predict", "m.tabcohort", "TABLE", "--explain", "2"],
    "predict to a file": ["predict", "m.tabcohort", "TABLE", "--out", "p.csv", "--escape-formulas"],
    "explain": ["explain", "m.tabcohort", "TABLE", "--row", "3", "--html", "explain.html"],
    "evaluate": ["evaluate", "m.tabcohort", "TABLE"],
    "compare": ["compare", "m.tabcohort", "n.tabcohort", "--table", "TABLE"],
    "monitor": ["monitor", "m.tabcohort", "TABLE", "--against", "TABLE", "--out", "monitor.html"],
    "report": ["report", "m.tabcohort", "--table", "TABLE", "--by", IMAGE, "--out", "report.html", "--card", "card.md"],
    "decide": ["decide", "m.tabcohort", "--coverage", "0.8", "--out", "other.tabcohort"],
    "a missing column": ["evaluate", "m.tabcohort", "OTHER"],
    "an unknown column": ["look", "TABLE", "--target", f"{TERMINAL} {BIDI}"],
}  # fmt: skip


@pytest.fixture
def _models(run: Run, table: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Put two models of these rows, which are trained once, into the current folder."""
    kept = table.with_name("m.tabcohort")
    if not kept.exists():
        assert run("fit", table, *COLUMNS, *QUICK, *SMALL, "--out", kept).status == 0
    for name in ("m.tabcohort", "n.tabcohort"):
        (folder / name).write_bytes(kept.read_bytes())


@pytest.mark.usefixtures("_models")
@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_prints_and_writes_is_inert(run: Run, table: Path, folder: Path, name: str) -> None:
    hostile_frame().select(TERMINAL, FORMULA).write_parquet(folder / "other.parquet")
    files = {"TABLE": str(table), "OTHER": str(folder / "other.parquet")}
    ran = run(*(files.get(argument, argument) for argument in COMMANDS[name]))
    assert ran.status == (2 if name.startswith("a") else 0), ran.err
    assert not FORBIDDEN.search(ran.err)
    if name != "predict":  # CSV for a program; `test_hostile_cells_in_csv` reads it back
        assert not FORBIDDEN.search(ran.out)
    for path in folder.glob("*.html"):
        assert active_elements(path.read_text(encoding="utf-8")) == [], path.name
    for path in folder.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert not FORBIDDEN.search(text), path.name
        assert not re.search(r"(?<!\\)<(script|img)|\]\(javascript:", text), path.name


@pytest.mark.usefixtures("_models")
def test_cells_of_predictions_in_csv_are_no_formulas_if_asked_for(run: Run, table: Path) -> None:
    plain = list(csv.reader(io.StringIO(run("predict", "m.tabcohort", table).out)))
    inert = list(csv.reader(io.StringIO(run("predict", "m.tabcohort", table, "--escape-formulas").out)))
    assert any(cell.startswith("=") for row in plain for cell in row)
    assert not any(cell[:1] in ("=", "@", "\t", "\r") for row in inert for cell in row)
    assert len(inert) == len(plain) == 121


@pytest.mark.usefixtures("_models")
@pytest.mark.parametrize("command", ["info", "predict", "evaluate", "explain"])
def test_json_escapes_control_characters_and_reads_back(run: Run, table: Path, command: str) -> None:
    arguments = {"info": [], "explain": [table, "--row", "1"]}.get(command, [table])
    ran = run(command, "m.tabcohort", *arguments, "--json")
    assert ran.status == 0, ran.err
    assert "\x1b" not in ran.out
    assert TERMINAL + SCRIPT in json.dumps(json.loads(ran.out), ensure_ascii=False).encode().decode(
        "unicode_escape"
    ) or (TERMINAL in ran.out.encode().decode("unicode_escape"))


def test_the_check_finds_what_a_browser_would_run() -> None:
    assert active_elements(IMAGE) == [f"img onerror={MARK}()"]
    assert active_elements(SCRIPT) == [f"{MARK}()"]
    assert active_elements(f'<a href="javascript:{MARK}()">x</a>') == [f"a href=javascript:{MARK}()"]
    assert active_elements(f'<script type="application/json">"{MARK}"</script><p>{MARK}</p>') == []
    assert FORBIDDEN.search(TERMINAL)
    assert FORBIDDEN.search(BIDI)
