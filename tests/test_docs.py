"""README.md and docs: their examples run and give what they show, and their commands are known."""

from __future__ import annotations

import contextlib
import doctest
import io
import math
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pytest
from doc_pages import (
    DOCS,
    EVERY_PAGE,
    FENCE,
    NUMBER,
    OMITTED,
    ROOT,
    Block,
    blocks_of,
    commands_of,
    name_of,
    pages_with,
    read,
)

from tabcohort import Config, grid
from tabcohort.cli.main import main
from tabcohort.cli.parser import make_parser


@pages_with("python")
def test_python_examples_give_what_they_show(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of a page share their names; a block with a title is a script of its own."""
    monkeypatch.chdir(tmp_path)
    plt.switch_backend("agg")
    write_titled_files(page)
    if page.stem == "mlflow":
        pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a folder, as databases need more packages
    run_python(page)


def run_python(page: Path) -> None:
    """Run the Python blocks of a page in the current folder, and compare what they print with what is shown."""
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
    plt.close("all")


def write_titled_files(page: Path) -> None:
    """Write the TOML files that a page shows into the current folder."""
    for block in blocks_of(page, "toml"):
        if block.title is not None:
            Path(block.title).write_text(block.text, encoding="utf-8")


def run_script(block: Block) -> None:
    """Run a block in a process of its own."""
    Path(str(block.title)).write_text(block.text, encoding="utf-8")
    ran = subprocess.run([sys.executable, str(block.title)], capture_output=True, text=True)
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


def test_mlflow_commands_are_those_that_mlflow_knows() -> None:
    pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    import click
    from mlflow.cli import cli

    blocks = blocks_of(DOCS / "guide/mlflow.md", "console")
    lines = re.findall(r"^\$ mlflow (.*)$", "".join(block.text for block in blocks), re.MULTILINE)
    assert len(lines) > 1
    for line in lines:
        name, command, arguments = "mlflow", cli, shlex.split(line)
        while isinstance(command, click.Group):
            name, command, arguments = command.resolve_command(click.Context(command), arguments)
        command.make_context(name, arguments)  # which parses them, and runs nothing


@EVERY_PAGE
def test_code_blocks_are_of_languages_that_are_tested(page: Path) -> None:
    """The others are an installation (sh), which the tests come after, and an output that takes long to make (text)."""
    assert {match[1] for match in FENCE.finditer(read(page))} <= {"console", "python", "toml", "sh", "text"}
    assert read(page).count("\n```") == 2 * len(FENCE.findall(read(page)))
    assert all(block.text == "pip install -e .\n" for block in blocks_of(page, "sh"))
    assert page.stem in ("reproduce", "watch") or not blocks_of(page, "text")


@EVERY_PAGE
def test_extras_are_those_of_the_package(page: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(re.findall(r"tabcohort\[(\w+)\]", read(page))) <= set(project["optional-dependencies"])


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("name", ["guide/serve.md", "guide/medical_records.md"])
def test_requests_are_answered_as_the_page_shows(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's server runs at a port that is free, and gets the page's requests, whose files its examples write."""
    pytest.importorskip("ucumvert", reason="the extra `fhir`, which includes `serve`, is not installed")
    monkeypatch.chdir(tmp_path)
    page = DOCS / name
    write_titled_files(page)
    run_python(page)
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
            assert requests
            for text in requests:
                line, *shown = text.splitlines()
                address = re.sub(r"http://(localhost|127\.0\.0\.1):8000", ready.split()[1], line)
                command_line = [*shlex.split(address), "--fail"]
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
def test_settings_files_grids_and_mappings_are_valid(page: Path, tmp_path: Path) -> None:
    for block in blocks_of(page, "toml"):
        values = tomllib.loads(block.text)
        if block.title == "grid.toml":
            assert len(grid(values, Config())) > 1
        elif block.title == "mapping.toml":
            pytest.importorskip("ucumvert", reason="the extra `fhir` is not installed")
            from tabcohort.server.medical.fhir_mapping import read_mapping

            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
            assert {column.name for column in read_mapping(tmp_path / block.title).columns} == set(values["columns"])
        else:
            values.pop("columns", None)  # types of columns, which are no part of a config
            assert Config.from_dict(values) != Config()
