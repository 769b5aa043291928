"""The options of every command: their help, their groups, and what is refused in one line."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess

import pytest
from shell import Run, python

from tabcohort import __version__
from tabcohort.cli import commands
from tabcohort.cli.parser import COMMANDS, EXPERIMENTS, make_parser
from tabcohort.settings import PRESET_NAMES

GROUPS = {
    "look": ["Columns"],
    "fit": ["Columns", "Models", "Run", "Decision", "More Output"],
    "tune": ["Columns", "Models", "Run", "Decision", "Search", "More Output"],
    "predict": ["Decision"],
    "explain": [],
    "evaluate": [],
    "compare": [],
    "monitor": [],
    "info": [],
    "report": [],
    "export": [],
    "decide": ["Decision"],
    "serve": ["Access", "Log Of Predictions"],
    "replay": [],
    "watch": [],
    "reproduce": [],
}


# Help


def test_help_and_version_are_on_standard_output(run: Run) -> None:
    ran = run("--help")
    assert ran.status == 0
    names = ("look", "fit", "tune", "predict", "explain", "evaluate", "info", "report", "decide", "reproduce")
    assert all(name in ran.out for name in (*names, "sample:breast-cancer"))
    assert run("--version").out == f"tabcohort {__version__}\n"
    assert __version__.startswith("0.")


@pytest.mark.parametrize("name", GROUPS)
def test_the_help_of_a_command_has_groups_and_an_example_that_the_parser_takes(run: Run, name: str) -> None:
    ran = run(name, "--help")
    assert (ran.status, ran.err) == (0, "")
    assert re.findall(r"^([A-Z][A-Za-z ]+):$", ran.out, re.MULTILINE) == [
        "Positional Arguments",
        "Options",
        *GROUPS[name],
    ]
    summary = COMMANDS[name].summary
    text = " ".join(ran.out.split())
    assert f"{summary[0].upper()}{summary[1:]}." in text
    example = f"tabcohort {name} {COMMANDS[name].example}"
    assert text.endswith(f"Example: {example}")
    assert make_parser().parse_args(shlex.split(example)[1:]).run is COMMANDS[name].run


def test_every_command_has_help() -> None:
    assert list(COMMANDS) == list(GROUPS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_has_a_help_text(name: str) -> None:
    for action in actions_of(name):
        assert action.help, action


def test_every_option_without_a_command_has_a_help_text() -> None:
    for action in make_parser()._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction), action


def actions_of(name: str) -> list[argparse.Action]:
    """Return the arguments and options of a command."""
    parser = make_parser()
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return subparsers.choices[name]._actions


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_print_json(name: str) -> None:
    assert "--json" in {option for action in actions_of(name) for option in action.option_strings}


HELP = """
import sys
from tabcohort.cli.main import main

for name in ["", *sys.argv[1:]]:
    try:
        main([name, "--help"] if name else ["--help"])
    except SystemExit as leaving:
        assert leaving.code == 0
    heavy = {"torch", "numpy", "polars", "sklearn", "scipy", "numba"} & set(sys.modules)
    assert not heavy, (name, heavy)
"""


def test_the_help_of_a_command_imports_nothing_heavy() -> None:
    ran = python(HELP, *COMMANDS)
    for name in ["", *COMMANDS]:
        assert re.search(f"^ *{f'Usage: tabcohort {name}'.rstrip()} ", ran.stdout, re.MULTILINE), name


def test_the_experiments_are_named_in_the_help(run: Run) -> None:
    assert ", ".join(EXPERIMENTS) in " ".join(run("reproduce", "--help").out.split())


# Completion


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_a_completion_script_is_printed(run: Run, shell: str) -> None:
    ran = run("--print-completion", shell)
    assert (ran.status, ran.err) == (0, "")
    for word in (*COMMANDS, "--coverage", "--print-completion", "residual"):
        assert word in ran.out, word


def test_bash_reads_its_completion_script_and_completes_commands(run: Run) -> None:
    """The script is run here, and its function asked for what completes a word."""
    script = run("--print-completion", "bash").out
    assert re.search(r"^complete( -o \w+)? -F _shtab_tabcohort tabcohort$", script, re.MULTILINE)
    code = f"{script}\nCOMP_WORDS=(tabcohort ev) COMP_CWORD=1\n_shtab_tabcohort\necho ${{COMPREPLY[@]}}"
    ran = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=60)
    assert ran.stdout.strip() == "evaluate", ran.stderr


# What is refused


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_taken_once_or_repeats(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A second value would silently replace the first."""
    positional = {
        "fit": ["t"],
        "tune": ["t"],
        "predict": ["m", "t"],
        "explain": ["m", "t", "--row", "1"],
        "evaluate": ["m", "t"],
        "monitor": ["m", "t"],
        "replay": ["l", "m"],
        "reproduce": ["wine"],
    }
    for action in actions_of(name):
        if not action.option_strings or action.nargs == 0:
            continue
        option, value = action.option_strings[0], str(next(iter(action.choices or ["1"])))
        n_given = 2 if option in ("--row", "--record") else None  # one of which is required, and not both
        arguments = [name, *positional.get(name, ["m"])[:n_given], option, value, option, value]
        repeatable = ("--key", "--group", "--category", "--number", "--date", "--text", "--drop", "--by", "--ignore")
        if option in (*repeatable, "--together", "--shadow", "--allow-host") or (name, option) == (
            "serve",
            "--background",
        ):
            assert getattr(make_parser().parse_args(arguments), action.dest) == [value, value]
            continue
        with pytest.raises(SystemExit):
            make_parser().parse_args(arguments)
        assert f"argument {option}: it may be given once only" in capsys.readouterr().err


def test_options_are_those_of_one_command_line_only() -> None:
    """What one call was given must not count as given in the next."""
    parser = make_parser()
    for seed in ("1", "2"):
        assert parser.parse_args(["fit", "a.csv", "--seed", seed]).seed == int(seed)
    assert parser.parse_args(["fit", "a.csv"]).seed is None


def test_what_is_not_given_is_left_to_the_library() -> None:
    options = make_parser().parse_args(["tune", "a.csv"])
    assert options.run is commands.tune
    given = {name: value for name, value in vars(options).items() if value not in (None, [], False)}
    assert given.keys() <= {"run", "table", "given"}


def test_what_is_wrong_with_arguments_is_json_where_that_was_asked_for(run: Run) -> None:
    for arguments, words in (
        (["fit", "a.csv", "--tagret", "y", "--json"], "there is no option '--tagret' (did you mean '--target'?)"),
        (["fit", "--json"], "the following arguments are required: TABLE"),
    ):
        ran = run(*arguments)
        assert (ran.status, ran.err) == (2, "")
        assert json.loads(ran.out) == {"error": f"{words}; see tabcohort fit --help"}


def test_the_presets_are_those_of_the_settings() -> None:
    """The parser has their names itself, as `--help` must not wait for NumPy."""
    for preset in PRESET_NAMES:
        assert make_parser().parse_args(["fit", "sample:wine", "--preset", preset]).preset == preset
    with pytest.raises(SystemExit):
        make_parser().parse_args(["fit", "sample:wine", "--preset", "none"])
