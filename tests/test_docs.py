"""README.md and docs: their examples run, their commands are known, and their tables say what the code says."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import doctest
import io
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import fit_quickly, make_small_table

from tabcohort import CohortSettings, Config, ConfigReport, grid, save
from tabcohort.cli.commands import N_RANDOM_CONFIGS
from tabcohort.cli.main import main
from tabcohort.cli.parser import make_parser
from tabcohort.container import FORMAT, MAGIC, read_container
from tabcohort.data.splits import COHORT_SIZES
from tabcohort.evaluation.intervals import UNKNOWN
from tabcohort.evaluation.metrics import METRICS
from tabcohort.model.facts import config_facts, evaluation_facts, facts
from tabcohort.model.file import OUT_OF_FOLD
from tabcohort.model.learned import learned_facts

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
SOURCE = ROOT / "src" / "tabcohort"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
MAX_LINES_OF_README = 150
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
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
    """Return a page without its code blocks."""
    return FENCE.sub("", read(page))


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


# -- examples --------------------------------------------------------------------------------------------------------


@pages_with("python")
def test_python_examples_give_what_they_show(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a page share their names; a block with a title is a script of its own."""
    monkeypatch.chdir(tmp_path)
    write_titled_files(page)
    if page.stem == "mlflow":
        pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder, as databases need more packages
    names: dict[str, Any] = {"__name__": "__main__"}
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    for block in blocks_of(page, "python"):
        where = f"{name_of(page)}:{block.line}"
        if block.title is not None:
            run_script(block)
        elif ">>>" in block.text:
            test = doctest.DocTestParser().get_doctest(block.text, names, where, str(page), block.line - 1)
            messages: list[str] = []
            runner.run(test, out=messages.append, clear_globs=False)
            assert not messages, "".join(messages)
            names.update(test.globs)
        else:
            exec(compile(block.text, where, "exec"), names)


def write_titled_files(page: Path) -> None:
    """Write the TOML files that a page shows into the current folder."""
    for block in blocks_of(page, "toml"):
        if block.title is not None:
            Path(block.title).write_text(block.text, encoding="utf-8")


def run_script(block: Block) -> None:
    """Run a block in a process of its own; kernels that it adds are not compiled, which would take long."""
    Path(str(block.title)).write_text(block.text, encoding="utf-8")
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    ran = subprocess.run([sys.executable, str(block.title)], env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


@EVERY_PAGE
def test_commands_are_those_that_the_command_line_knows(page: Path) -> None:
    for command in commands_of(page):
        messages = io.StringIO()
        with contextlib.redirect_stderr(messages), contextlib.redirect_stdout(io.StringIO()):
            try:
                make_parser().parse_args(command.arguments)
            except SystemExit as leaving:
                if leaving.code:  # 0 is that of --version
                    pytest.fail(messages.getvalue())


@pages_with("console")
def test_commands_print_what_is_shown(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command whose inputs exist is run, one after another, in a folder that has the page's files.

    Figures differ a little from machine to machine, and so does time: see `says`.
    """
    monkeypatch.chdir(tmp_path)
    write_titled_files(page)
    for command in commands_of(page):
        shown = [line for line in command.shown if line.strip() not in ("", OMITTED)]
        if shown or can_run(command.arguments):
            printed = output_of(command.arguments)
            remaining = iter(printed)
            for line in shown:
                is_printed = any(says(other, line) for other in remaining)  # which also drops the lines before it
                assert is_printed, f"{command.arguments} does not print {line!r} here, but:\n" + "\n".join(printed)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_requests_are_answered_as_the_page_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's server runs at a port that is free, and gets the page's requests."""
    pytest.importorskip("starlette", reason="the extra `serve` is not installed")
    monkeypatch.chdir(tmp_path)
    page = DOCS / "guide/serve.md"
    commands = commands_of(page)
    (start,) = (command.arguments for command in commands if command.arguments[0] == "serve")
    for command in commands:
        if command.arguments[0] in ("fit", "predict"):
            output_of(command.arguments)
    arguments = [sys.executable, "-m", "tabcohort", *start, "--port", "0"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            ready = next(line for line in server.stderr if line.startswith("ready"))
            requests = [
                text for block in blocks_of(page, "console") for text in block.text.split("$ ") if text[:4] == "curl"
            ]
            assert len(requests) > 1
            for text in requests:
                line, *shown = text.splitlines()
                command_line = shlex.split(line.replace("http://localhost:8000", ready.split()[1]))
                printed = subprocess.run(command_line, capture_output=True, text=True, check=True).stdout.splitlines()
                for wanted, own in zip(shown, printed, strict=False):
                    assert wanted == OMITTED or says(own, wanted), text
        finally:
            server.terminate()


def can_run(arguments: list[str]) -> bool:
    """Return whether all that a command reads is there; experiments take too long, and servers go on."""
    if arguments[0] in ("reproduce", "serve") or arguments[0].startswith("-") or "--page" in arguments:
        return False
    options = vars(make_parser().parse_args(arguments))
    inputs = [options.get("table"), options.get("settings"), options.get("grid")]
    inputs += [options["model"]] if arguments[0] not in ("look", "fit", "tune", "watch") else []
    inputs += [*options.get("others", []), options.get("against"), options.get("log"), options.get("recording")]
    return all(name is None or name.startswith("sample:") or Path(name).exists() for name in inputs)


def output_of(arguments: list[str]) -> list[str]:
    """Return the lines that a command prints to standard output."""
    out, messages = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(messages):
        warnings.simplefilter("default")  # a shell shows warnings; the tests make errors of them
        status = main(arguments)
    assert status == 0, messages.getvalue()
    return out.getvalue().splitlines()


def says(printed: str, shown: str) -> bool:
    """Return whether two lines have the same words, and numbers that are alike, but for times and versions."""
    printed, shown = (" ".join(line.split()) for line in (printed, shown))
    if NUMBER.sub("0", printed) != NUMBER.sub("0", shown):
        return False
    pairs = zip(NUMBER.finditer(printed), NUMBER.finditer(shown), strict=True)
    return all(
        are_alike(*map(number_of, pair)) for pair in pairs if not re.match(r" ?(m?s|min)\b", shown[pair[1].end() :])
    )


def number_of(match: re.Match[str]) -> float:
    """Return a number that is written, and NaN for what is none, such as a version."""
    try:
        return float(match.group().rstrip(".,-").replace(",", ""))
    except ValueError:
        return math.nan


def are_alike(a: float, b: float) -> bool:
    """Return whether two figures could be the same on different machines."""
    return math.isnan(a) or math.isnan(b) or abs(a - b) <= (0.02 if abs(b) <= 1 else 0.1 * abs(b))


def test_typed_figures_are_not_those_that_are_printed() -> None:
    assert says(
        "accuracy  0.9824 (0.96 to 0.99), 1,024 rows in 3.1 s", "accuracy 0.9789 (0.96 to 0.99), 1,000 rows in 9 s"
    )
    assert not says("accuracy 0.9824", "accuracy 0.9524")
    assert not says("accuracy 0.9824", "precision 0.9824")


@pages_with("toml")
def test_settings_files_and_grids_are_valid(page: Path) -> None:
    for block in blocks_of(page, "toml"):
        values = tomllib.loads(block.text)
        if block.title == "grid.toml":
            assert len(grid(values, Config())) > 1
        elif block.title != "mapping.toml":  # which the examples of its page read
            values.pop("columns", None)  # types of columns, which are no part of a config
            assert Config.from_dict(values) != Config()


# -- reference -------------------------------------------------------------------------------------------------------


def table_rows(page: str, *columns: str) -> list[tuple[str, ...]]:
    """Return the cells of the tables of a page that have this many columns, each of this pattern."""
    cells = r" \| ".join(f"({column})" for column in columns)
    return re.findall(rf"^\| {cells} \|$", read(DOCS / page), re.MULTILINE)


def test_the_settings_tables_name_every_field_with_its_default() -> None:
    rows = table_rows("reference/settings.md", r"`\w+`", r"`[^`]*`", r"\w.*|`.*")
    defaults = {name.strip("`"): tomllib.loads(f"value = {default.strip('`')}")["value"] for name, default, _ in rows}
    fields = [*dataclasses.fields(Config), *dataclasses.fields(CohortSettings)]
    assert list(defaults) == [field.name for field in fields]
    expected = {
        field.name: "none"
        if field.default is None
        else list(field.default)
        if field.name == "hidden"
        else field.default
        for field in fields
    }
    assert defaults == expected  # as a settings file spells them


def test_the_command_line_page_lists_every_command_and_option() -> None:
    (subparsers,) = (action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    options = table_rows("reference/cli.md", r"`--[^`]+`", "[a-z, ]+", ".+")
    listed = [(command, option.strip("`")) for option, commands, _ in options for command in commands.split(", ")]
    expected = [
        (command, described(action))
        for command, parser in subparsers.choices.items()
        for action in parser._actions
        if action.option_strings and action.dest != "help"
    ]
    assert sorted(listed) == sorted(expected)
    positional = {
        command: " ".join(str(action.metavar) for action in parser._actions if not action.option_strings)
        for command, parser in subparsers.choices.items()
    }
    commands = table_rows("reference/cli.md", r"`[a-z]+`", r"`[A-Z ]+`", ".+")
    assert {name.strip("`"): arguments.strip("`") for name, arguments, _ in commands} == positional
    assert f"number of random configs, {N_RANDOM_CONFIGS} if omitted" in read(DOCS / "reference/cli.md")


def described(action: argparse.Action) -> str:
    """Return an option and its value as the help shows them."""
    (option,) = action.option_strings
    if action.nargs == 0:
        return option
    value = action.metavar or "{" + ",".join(action.choices or ()) + "}"
    return f"{option} [{value}]" if action.nargs == "?" else f"{option} {value}"


def test_the_metrics_page_defines_every_metric() -> None:
    rows = table_rows("reference/metrics.md", r"`\w+`", "[^|]+", "higher|lower", "[^|]+")
    listed = {name.strip("`"): (label, direction, "bootstrap" in how) for name, label, direction, how in rows}
    assert listed == {
        name: (metric.label, "lower" if metric.lower_is_better else "higher", metric.bootstrap is not None)
        for name, metric in METRICS.items()
    }
    assert all(
        f"{metric.bootstrap} bootstrap" in rows[place][3]
        for place, metric in enumerate(METRICS.values())
        if metric.bootstrap
    )
    formulas = table_rows("reference/metrics.md", r"`\w+`", "[^|]+", "yes|no")
    needs = {name.strip("`"): needs_positive == "yes" for name, _, needs_positive in formulas}
    assert needs == {name: metric.needs_positive for name, metric in METRICS.items()}


def test_the_facts_page_names_every_key() -> None:
    predictor = fit_quickly(model="logistic")
    failed = ConfigReport(predictor.config, 0, UNKNOWN, UNKNOWN, {}, 0.0, failed="a loss stopped being finite")
    seldom = dataclasses.replace(predictor.report.evaluation, confusion=np.array([[90.0, 0.0], [29.0, 0.0]]))
    values = {
        **facts(predictor),
        "configs": config_facts(dataclasses.replace(predictor.report, configs=(*predictor.report.configs, failed))),
        "evaluation": evaluation_facts(seldom, predictor.schema.classes),
    }
    names = {re.sub(rf"\.metrics\.({'|'.join(METRICS)})\b", ".metrics.NAME", name) for name in keys_of(values)}
    cells = "".join(row[0] for row in table_rows("reference/facts.md", "`[^|]+`", "[^|]+"))
    listed = set(re.findall(r"`([^`]+)`", cells))
    of_report = {name for name in listed if name.startswith("report.")}
    described = {
        name for name in names if any(re.match(rf"{re.escape(name_of)}(\.|\[|$)", name) for name_of in of_report)
    }
    assert {name for name in names - described if not name.startswith("report.")} == listed - of_report
    assert {name for name in names if name.startswith("report.")} == described
    assert all(any(name.startswith(start) for name in names) for start in of_report)


def test_the_facts_page_names_every_key_of_what_a_model_has_learned() -> None:
    table = make_small_table()
    rows = table_rows("reference/facts.md", r"\w+", "[^|]+")
    assert {name for name, _ in rows} - {"key"} == set(learned_facts(fit_quickly(table, model="logistic"), table))


def keys_of(values: Any, name: str = "") -> Iterator[str]:
    """Yield the names of all values in nested dictionaries; `[]` stands for the entries of a list."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from keys_of(value, f"{name}.{key}" if name else key)
    elif isinstance(values, list | tuple) and values and isinstance(values[0], Mapping):
        yield from keys_of(values[0], f"{name}[]")
    else:
        yield name


def test_the_file_format_page_describes_what_is_written(tmp_path: Path) -> None:
    page = read(DOCS / "reference/file-format.md")
    assert f"its `format`, which is {FORMAT}" in page
    assert f"| {len(MAGIC)} | `{MAGIC.decode()}` |" in page
    arrays = table_rows("reference/file-format.md", r"`out_of_fold\.\w+`", r"\w+", "[^|]+")
    listed = {name.strip("`"): dtype for name, dtype, _ in arrays}
    assert listed == {f"out_of_fold.{name}": np.dtype(dtype).name for name, dtype in OUT_OF_FOLD.items()}
    save(fit_quickly(model="logistic"), tmp_path / "model.tabcohort")
    written, document = read_container(tmp_path / "model.tabcohort", "model")
    assert set(re.findall(r"`(members\.\d[\w.]+)`", page)) <= set(written)
    parts = [name.strip("`") for name, _ in table_rows("reference/file-format.md", r"`\w+`", "[^|]+")]
    assert parts == ["schema", "report", "members", "calibrator", "decision_rule"]
    assert set(parts) <= set(document)


def test_the_training_page_says_how_many_networks_there_are() -> None:
    rows = table_rows("guide/training.md", r"[\d,]+|more", r"\d+", r"\d+")
    limits = [math.inf if limit == "more" else float(limit.replace(",", "")) for limit, _, _ in rows]
    assert tuple(zip(limits, (int(row[1]) for row in rows), (int(row[2]) for row in rows), strict=True)) == COHORT_SIZES


# -- links, and what is named ----------------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= MAX_LINES_OF_README


@EVERY_PAGE
def test_links_and_images_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), target
        assert page.parent == ROOT or DOCS in linked.parents, f"{target} is not in the built pages"
        assert not anchor or anchor in anchors_of(linked), target


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"^ +- .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


@EVERY_PAGE
def test_make_targets_are_in_the_makefile(page: Path) -> None:
    named = re.findall(r"`make ([a-z]+)`", read(page)) + re.findall(r"^\$ make ([a-z]+)", read(page), re.MULTILINE)
    assert set(named) <= set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


@EVERY_PAGE
def test_files_and_what_they_define_are_there(page: Path) -> None:
    prose = prose_of(page)
    for path in re.findall(r"`([\w/]+\.py|benchmarks/\w+\.\w+)`", prose):
        assert [*ROOT.glob(path), *SOURCE.rglob(path)], f"there is no {path}"
    for names, path in re.findall(r"((?:`[\w.]+`(?:, | and )?)+)\s(?:in|\()\s?`([\w/]+\.py)`", prose):
        (file,) = SOURCE.rglob(path)
        for name in re.findall(r"`(?:\w+\.)*(\w+)`", names):
            assert re.search(rf"^\s*(def|class) {name}\b|^{name}\b.* = ", read(file), re.MULTILINE), f"{path}: {name}"


def test_the_page_on_the_code_names_every_package() -> None:
    rows = table_rows("developing/house.md", r"`\w+`(?:, `\w+`)*", "[^|]+")
    listed = [name for packages, _ in rows for name in re.findall(r"`(\w+)`", packages)]
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    modules = {path.stem for path in SOURCE.glob("[!_]*.py")}
    assert sorted(listed) == sorted(packages | modules)
