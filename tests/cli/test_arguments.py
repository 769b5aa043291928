"""Arguments: what is wrong with them is said in one line, and each option is taken once."""

from __future__ import annotations

import re

import pytest
from shell import Run

from tabcohort.cli.main import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["fitt"],
            "argument COMMAND: invalid choice: 'fitt' (did you mean 'fit'?); choose from look, fit, tune, predict, ",
        ),
        (
            ["fit", "a.csv", "--tagret", "y"],
            "there is no option '--tagret' (did you mean '--target'?); see tabcohort fit",
        ),
        (
            ["tune", "a.csv", "--confgs=3"],
            "there is no option '--confgs' (did you mean '--configs'?); see tabcohort tune",
        ),
        (
            ["fit", "a.csv", "--max-epochs", "3"],
            "there is no option '--max-epochs': write max_epochs = ... into a file, and name it with --settings; ",
        ),
        (
            ["fit", "a.csv", "--budget", "0"],
            "argument --budget: it must be a number of seconds above 0, and is '0'; see",
        ),
        (["tune", "a.csv", "--budget", "x"], "argument --budget: it must be a number of seconds above 0, and is 'x'"),
        (["fit", "a.csv", "--targ", "y"], "there is no option '--targ' (did you mean '--target'?); see tabcohort fit"),
        (["fit", "a.csv", "--zzz"], "there is no option '--zzz'; see tabcohort fit --help"),
        (["--vresion"], "there is no option '--vresion' (did you mean '--version'?); see tabcohort --help"),
        (
            ["fit", "a.csv", "--model", "mpl"],
            "argument --model: invalid choice: 'mpl' (did you mean 'mlp'?); choose from",
        ),
        (["fit", "a.csv", "--quiet", "--verbose"], "argument --verbose: not allowed with argument --quiet"),
        (["fit"], "the following arguments are required: TABLE; see tabcohort fit --help"),
        (["fit", "a.csv", "--model", "tree"], "argument --model: invalid choice: 'tree'"),
        (["fit", "a.csv", "--members", "3", "--seeds", "2"], "argument --seeds: not allowed with argument --members"),
        (["tune", "a.csv", "--grid", "g.toml", "--configs", "3"], "argument --configs: not allowed with argument"),
        (["predict", "m"], "the following arguments are required: TABLE; see tabcohort predict --help"),
        (
            ["fit", "a.csv", "--budget", "soon"],
            "argument --budget: it must be a number of seconds above 0, and is 'soon'",
        ),
        (["tune", "a.csv", "--configs", "many"], "argument --configs: invalid int value: 'many'"),
        (["reproduce", "coffee"], "argument NAME: invalid choice: 'coffee'"),
        (["info", "m", "n"], "unrecognized arguments: n; see tabcohort info --help"),
    ],
)
def test_arguments_that_are_no_command_are_one_line_that_says_where_to_look(
    run: Run, arguments: list[str], message: str
) -> None:
    ran = run(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith(f"tabcohort: {message}")
    assert re.search(r"; see tabcohort( fit| predict| tune| info| reproduce)? --help\n$", ran.err)
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("option", ["--target", "--time", "--seed", "--threshold"])
def test_an_option_that_has_one_value_is_not_taken_twice(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fit", "a.csv", option, "1", option, "2"])
    assert ended.value.code == 2
    assert f"argument {option}: it may be given once only" in capsys.readouterr().err
