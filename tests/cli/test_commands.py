"""Training from the command line: `fit`, `tune` and `reproduce`; the others are in `test_model_commands.py`."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from shell import QUICK, SMALL, Run

from tabcohort import Config, load, read_frame
from tabcohort.cli.commands import _this_program
from tabcohort.cohort.presets import preset_configs
from tabcohort.model.report import ConfigReport
from tabcohort.reproduce.findings import Findings

# Fit


def test_fit_writes_a_model_and_says_how_good_it_is(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.tabcohort"
    ran = run("fit", csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", quick, "--out", out)
    assert ran.status == 0
    assert "mlp 8 predicts answer from 3 features: 3 networks with 123 parameters in total" in ran.out
    assert "measured on 90 rows, each predicted by networks that never saw it" in ran.out
    assert "positive class yes" in ran.out
    assert f"next     tabcohort predict {out} NEW_TABLE" in ran.out
    assert "positive class: yes (the last in sorted order; name another with --positive)" in ran.err
    assert "90 rows, 3 features" in ran.err
    schema = load(out).schema
    assert (schema.features, schema.keys, schema.target) == (("x0", "x1", "x2"), ("id",), "answer")


def test_without_a_network_the_configs_of_a_preset_are_tried_and_ranked(
    run: Run, csv_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "run.toml").write_text('seed = 3\n[columns]\nid = "drop"\n')
    options = ("--preset", "fast", "--settings", tmp_path / "run.toml", *SMALL, "--out", tmp_path / "new.tabcohort")
    ran = run("fit", csv_file, "--target", "answer", *options)
    assert ran.status == 0
    assert "rank  log loss" in ran.out
    report = load(tmp_path / "new.tabcohort").report
    assert [config.config for config in report.configs] == preset_configs("fast", Config(seed=3))


def test_a_preset_and_a_network_exclude_each_other(run: Run, csv_file: Path, quick: Path) -> None:
    for options in (("--model", "mlp"), ("--settings", quick)):
        ran = run("fit", csv_file, "--target", "answer", "--preset", "best", *options)
        assert ran.status == 2
        assert "--preset best chooses what is trained: leave it out, or --model and the settings of" in ran.err
    ran = run("fit", csv_file, "--target", "answer", "--linear-only", "--model", "mlp")
    assert "--linear-only chooses what is trained: leave it out, or --model and the settings of" in ran.err


@pytest.mark.parametrize("name", ["./-new", "a  b'c.tabcohort", "./sub/../new.tabcohort"])
def test_the_next_command_works_when_it_is_pasted(
    run: Run, csv_file: Path, quick: Path, folder: Path, name: str
) -> None:
    (folder / "sub").mkdir()
    ran = run("fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick, "--out", name)
    assert f"model    {name}\n" in ran.out
    (line,) = (line for line in ran.out.splitlines() if line.startswith("next "))
    program, *arguments = shlex.split(line.removeprefix("next"))
    assert (program, arguments[-1]) == ("tabcohort", "NEW_TABLE")
    assert run(*arguments[:-1], csv_file).status == 0


@pytest.mark.parametrize(
    ("called", "is_on_path", "words"),
    [
        ("/usr/bin/tabcohort", True, ["tabcohort"]),
        ("tabcohort", False, ["./tabcohort"]),
        ("bin/tabcohort", False, ["bin/tabcohort"]),
        ("lib/tabcohort/__main__.py", False, [sys.executable, "-m", "tabcohort"]),
        ("lib/tabcohort/cli/__main__.py", False, [sys.executable, "-m", "tabcohort"]),
        ("/usr/bin/pytest", False, ["tabcohort"]),
        ("lib/pytest/__main__.py", False, ["tabcohort"]),
    ],
)
def test_the_next_command_runs_the_program_that_was_run(
    monkeypatch: pytest.MonkeyPatch, called: str, is_on_path: bool, words: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    monkeypatch.setattr(shutil, "which", lambda name: name if is_on_path else None)
    assert _this_program() == words


def test_a_sample_knows_its_target_and_positive_class(run: Run, quick: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    ran = run("fit", "sample:breast-cancer", *SMALL, "--settings", quick, *QUICK, "--out", out)
    assert ran.status == 0
    assert "positive class malignant" in ran.out
    assert "positive class:" not in ran.err
    assert "largest of 30 coefficients" in ran.out
    assert f"next     tabcohort predict {out} sample:breast-cancer" in ran.out


def test_without_out_the_model_has_the_name_of_the_table_and_overwrites_nothing(
    run: Run, csv_file: Path, quick: Path, folder: Path
) -> None:
    fit = ["fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick]
    for name in ("patients.tabcohort", "patients-2.tabcohort", "patients-3.tabcohort"):
        ran = run(*fit)
        assert ran.status == 0
        assert f"model    {name}\nnext     tabcohort predict {name} NEW_TABLE\n" in ran.out
        assert load(name).schema.target == "answer"
        (folder / name).write_bytes(b"kept")
    assert {path.read_bytes() for path in folder.iterdir()} == {b"kept"}
    ran = run(*fit, "--json")
    assert json.loads(ran.out)["schema"]["target"] == "answer"
    assert "model    patients-4.tabcohort\n" in ran.err


def test_a_model_that_can_no_longer_be_written_is_kept_elsewhere(
    run: Run, csv_file: Path, quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tabcohort.cohort.fit import fit

    def fit_and_lose_the_folder(*arguments: Any, **keywords: Any) -> Any:
        shutil.rmtree(tmp_path / "gone")
        return fit(*arguments, **keywords)

    monkeypatch.setattr("tabcohort.cohort.fit.fit", fit_and_lose_the_folder)
    (tmp_path / "gone").mkdir()
    out = tmp_path / "gone" / "model.tabcohort"
    ran = run("fit", csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", quick, "--out", out)
    assert ran.status == 2
    words = rf"^tabcohort: '{out}' cannot be written: No such file or directory; the model was kept as '(.*)'$"
    kept = re.search(words, ran.err, re.MULTILINE)
    assert kept, ran.err
    assert load(kept[1]).schema.target == "answer"


def test_a_model_is_kept_where_its_curves_cannot_be_drawn(
    run: Run, csv_file: Path, quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    out, image = tmp_path / "model", tmp_path / "curves.png"
    fit = ["fit", csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", quick, "--out", out]
    ran = run(*fit, "--curves", image)
    assert (ran.status, ran.out) == (2, "")
    message = f"'{image}' cannot be written: No space left on device; the model was kept as '{out}'"
    assert ran.err.splitlines()[-1] == f"tabcohort: {message}"
    assert load(out).schema.target == "answer"
    assert json.loads(run(*fit, "--curves", image, "--json").out) == {"error": message}


def test_names_in_the_next_command_are_quoted(run: Run, csv_file: Path, quick: Path, folder: Path) -> None:
    (folder / "my patients.csv").write_bytes(csv_file.read_bytes())
    ran = run("fit", "my patients.csv", "--target", "answer", "--drop", "id", *SMALL, "--settings", quick)
    assert "model    my patients.tabcohort\nnext     tabcohort predict 'my patients.tabcohort' NEW_TABLE\n" in ran.out


def test_quiet_prints_results_only_and_verbose_a_line_per_network(
    run: Run, csv_file: Path, quick: Path, tmp_path: Path
) -> None:
    fit = ["fit", csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", quick, "--out", tmp_path / "m"]
    ran = run(*fit, "--quiet")
    assert (ran.status, ran.err) == (0, "")
    assert "measured on 90 rows" in ran.out
    ran = run(*fit, "--verbose", "--threads", "1")
    assert re.findall(r"^(\d)/3 members trained  ", ran.err, re.MULTILINE)[-1] == "3"
    predict = ["predict", tmp_path / "m", csv_file, "--out", tmp_path / "p.csv"]
    assert run(*predict, "--quiet").err == ""
    assert "<Predictor of 'answer' from 3 features, 3 members, " in run(*predict, "--verbose").err


def test_types_of_columns_come_from_the_settings_file_and_options_win(run: Run, csv_file: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('max_epochs = 2\n[columns]\nid = "drop"\nx0 = "category"\nx1 = "drop"\n', encoding="utf-8")
    fit = ["fit", csv_file, "--target", "answer", *SMALL, *QUICK, "--settings", settings, "--out", tmp_path / "model"]
    assert run(*fit, "--number", "x1").status == 0
    assert {column.name: column.kind for column in load(tmp_path / "model").schema.columns} == {
        "x0": "category", "x1": "number", "x2": "number"
    }  # fmt: skip


def test_control_characters_do_not_reach_the_terminal(run: Run, csv_file: Path, quick: Path, folder: Path) -> None:
    text = csv_file.read_text(encoding="utf-8").replace("yes", '"y\x1b]0;es\x07"').replace("x1", "x\x1b[2J")
    (folder / "a\x1b[31m.csv").write_text(text, encoding="utf-8")
    fit = ["fit", "a\x1b[31m.csv", "--target", "answer", "--key", "id", *SMALL, "--settings", quick, *QUICK]
    ran = run(*fit)
    assert ran.status == 0
    shown = [ran, run("info", "a\x1b[31m.tabcohort"), run("evaluate", "a\x1b[31m.tabcohort", "a\x1b[31m.csv")]
    shown += [run(*fit, "--drop", "\x1b\n"), run("fit", "\x1b\n.csv", "--target", "y"), run("fit", "a.csv", "\x1b\n")]
    for printed in shown:
        assert not {"\x1b", "\x07"} & set(printed.out + printed.err)
    assert r"; positive class y\x1b]0;es\x07" in ran.out
    assert r"reading a\x1b[31m.csv" in ran.err
    assert "tabcohort: there is no file '\\x1b\\n.csv'" in shown[-2].err
    assert shown[-1].err == "tabcohort: unrecognized arguments: \\x1b\\n; see tabcohort fit --help\n"


def test_settings_that_the_config_does_not_use_are_named_once(
    run: Run, csv_file: Path, quick: Path, tmp_path: Path
) -> None:
    """Shared settings, such as the seed, are of the run; all others are of a model and of its training."""
    fit = ["fit", csv_file, "--target", "answer", "--key", "id", *SMALL, "--out", tmp_path / "model"]
    ran = run(*fit, "--settings", quick, *QUICK)
    assert ran.err.count(f"not used by the config (model = 'logistic'): hidden, in '{quick}'") == 1
    assert "not used by" not in run(*fit, "--settings", quick).err
    trees = tmp_path / "trees.toml"
    trees.write_text('model = "trees"\nseed = 3\ndevice = "cpu"\nmax_epochs = 2\ndropout = 0.3\nhidden = [8]\n')
    assert (
        f"not used by the config (model = 'trees'): dropout, hidden, in '{trees}'" in run(*fit, "--settings", trees).err
    )


def test_settings_that_some_configs_use_are_not_named(run: Run, csv_file: Path, tmp_path: Path) -> None:
    settings = tmp_path / "some.toml"
    settings.write_text("max_epochs = 2\nhidden = [8]\nmomentum = 0.8\n")
    tune = ["tune", csv_file, "--target", "answer", "--key", "id", *SMALL, "--out", tmp_path / "model"]
    ran = run(*tune, "--settings", settings, "--configs", 8)
    assert f"not used by any of the 8 configs: momentum, in '{settings}'" in ran.err


def test_options_take_precedence_over_the_settings_file(run: Run, csv_file: Path, tmp_path: Path) -> None:
    settings, out = tmp_path / "settings.toml", tmp_path / "model"
    settings.write_text('model = "residual"\nseed = 5\nmax_epochs = 2\npositive = "yes"\n', encoding="utf-8")
    options = ["--model", "logistic", "--seed", "7", "--positive", "no", "--device", "cpu", "--engine", "torch"]
    ran = run(
        "fit", csv_file, "--target", "answer", "--drop", "id", "--settings", settings, *options, *SMALL, "--out", out
    )
    assert ran.status == 0
    predictor = load(out)
    assert (predictor.config.model, predictor.config.seed, predictor.config.max_epochs) == ("logistic", 7, 2)
    assert (predictor.config.device, predictor.report.engine) == ("cpu", "torch")
    assert predictor.schema.classes[predictor.schema.positive or 0] == "no"


def test_the_positive_class_of_the_settings_file_is_used(run: Run, csv_file: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text('model = "logistic"\nmax_epochs = 2\npositive = "no"\n', encoding="utf-8")
    ran = run("fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", settings)
    assert "positive class no" in ran.out
    assert "positive class:" not in ran.err


def test_curves_are_drawn(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    image = tmp_path / "curves.png"
    ran = run("fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick, "--curves", image)
    assert ran.status == 0
    assert image.read_bytes().startswith(b"\x89PNG")
    assert f"curves   {image}" in ran.out


def test_a_wrong_ending_for_curves_is_refused_before_training(
    run: Run, csv_file: Path, quick: Path, tmp_path: Path
) -> None:
    fit = ["fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick]
    ran = run(*fit, "--curves", tmp_path / "c.doc")
    assert ran.status == 2
    assert "c.doc' must end in .png, .svg or .pdf" in ran.err
    assert "reading" not in ran.err


def test_brackets_in_a_file_name_are_printed_as_they_are(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "[old].csv", tmp_path / "[bold]"
    table.write_bytes(csv_file.read_bytes())
    ran = run("fit", table, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick, "--out", out)
    assert f"reading {table}\n" in ran.err
    assert f"model    {out}\nnext     tabcohort predict '{out}' NEW_TABLE" in ran.out


def test_fit_resumes_from_a_checkpoint(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    command = ["fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick]
    first = run(*command, "--checkpoint", tmp_path / "kept", "--out", tmp_path / "one")
    second = run(*command, "--checkpoint", tmp_path / "kept", "--out", tmp_path / "two")
    assert first.status == second.status == 0
    one, two = load(tmp_path / "one"), load(tmp_path / "two")
    assert all((a.parameters == b.parameters).all() for a, b in zip(one.models, two.models, strict=True))
    assert one.report.members == two.report.members  # with the seconds of each epoch: none was run again
    other = run(*command, "--checkpoint", tmp_path / "kept", "--seed", "9")
    assert len(list((tmp_path / "kept").iterdir())) == 3  # a file per network
    assert other.status == 2
    assert "is of another config or other data; remove its folder, or name another" in other.err


def test_tune_resumes_from_a_checkpoint(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    command = ["tune", csv_file, "--target", "answer", "--drop", "id", *SMALL, *QUICK, "--configs", "2"]
    command += ["--settings", quick, "--checkpoint", tmp_path / "kept"]
    first, second = (run(*command, "--out", tmp_path / name) for name in ("one", "two"))
    assert first.status == second.status == 0
    assert "resuming from the checkpoint" in second.err
    assert load(tmp_path / "one").report.members == load(tmp_path / "two").report.members


def test_as_many_networks_are_trained_as_asked_for(run: Run, csv_file: Path, quick: Path) -> None:
    fit = ["fit", csv_file, "--target", "answer", "--drop", "id", "--settings", quick, "--json"]
    for options, n_folds, n_seeds in (
        (["--folds", "4", "--seeds", "2"], 4, 2),
        (["--members", "1"], 1, 1),
        (["--members", "5"], 5, 1),
        (["--folds", "3", "--members", "6"], 3, 2),
    ):
        members = json.loads(run(*fit, *options, "--threads", "1").out)["report"]["members"]
        expected = [(repeat, fold) for repeat in range(n_seeds) for fold in range(n_folds)]
        assert [(member["repeat"], member["fold"]) for member in members] == expected


def test_a_number_of_members_that_is_no_product_is_rounded_up_with_a_note(run: Run, csv_file: Path) -> None:
    ran = run("fit", csv_file, "--target", "answer", "--key", "id", "--folds", "3", "--members", "4", *QUICK)
    assert "note: 3 folds x 2 seeds: 6 members per config\n" in ran.err


def test_the_number_of_threads_changes_no_weight(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    fit = ["fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick]
    for threads in (1, 3):
        assert run(*fit, "--threads", threads, "--out", tmp_path / str(threads)).status == 0
    one, three = (load(tmp_path / str(threads)) for threads in (1, 3))
    assert all((a.parameters == b.parameters).all() for a, b in zip(one.models, three.models, strict=True))


def test_columns_of_groups_and_of_time_are_no_features(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    visits = read_frame(csv_file).with_columns(
        pl.Series("id", [f"p{i // 3}" for i in range(90)]), day=pl.Series(range(90))
    )
    visits.write_csv(tmp_path / "visits.csv")
    fit = ["fit", tmp_path / "visits.csv", "--target", "answer", *SMALL, "--settings", quick]
    of_groups = run(*fit, "--group", "id", "--drop", "day")
    assert of_groups.status == 0
    assert "features   x0, x1, x2\n" in of_groups.out
    assert "note: 90 rows have 30 different values of id; rows of one value stay together\n" in of_groups.err
    in_time = run(*fit, "--time", "day", "--drop", "id", "--json")
    document = json.loads(in_time.out)
    assert document["schema"]["features"] == ["x0", "x1", "x2"]
    assert document["report"]["evaluation"]["n_rows"] < 90  # the first days have no rows before them


def test_threshold_and_coverage_are_those_that_were_asked_for(run: Run, csv_file: Path, quick: Path) -> None:
    fit = ["fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick]
    ran = run(*fit, "--threshold", "sensitivity>=0.95", "--coverage", "0.8")
    assert ran.status == 0
    assert re.search(
        r"threshold +yes from a probability of 0\.\d{4} on, for sensitivity>=0\.95; the figures above are with "
        r"thresholds that were chosen on other rows\n",
        ran.out,
    )
    assert "requested: 80% of each class" in ran.out


def test_a_budget_ends_a_fit_with_what_is_there(run: Run, csv_file: Path, tmp_path: Path) -> None:
    settings = tmp_path / "long.toml"
    settings.write_text("max_epochs = 4000\npatience = 1000000\nhidden = [8]\n", encoding="utf-8")
    fit = ["fit", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", settings]
    ran = run(*fit, "--budget", "0.001", "--out", tmp_path / "model")
    assert ran.status == 0
    assert "its budget of seconds was spent (3 networks stopped early); the best weights so far are kept" in ran.out
    assert "note: the budget of seconds is spent: 3 of 3 members have weights" in ran.err
    # All have begun, as each row is to be tested; none has the first twentieth of its epochs, after which it may pause.
    n_epochs = [len(member.history) for member in load(tmp_path / "model").report.members]
    assert all(1 <= number < 200 for number in n_epochs)


# Tune


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """A file of five rates, of which the low ones have a high loss."""
    path = tmp_path / "grid.toml"
    path.write_text("learning_rate = [0.0001, 0.05, 0.0002, 0.04, 0.0003]\n", encoding="utf-8")
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A settings file for as many epochs as it takes to drop configs after five of them."""
    path = tmp_path / "base.toml"
    path.write_text('max_epochs = 8\nhidden = [8]\nmodel = "residual"\n', encoding="utf-8")
    return path


RANKED = r"^ +(\d+) +(\d\.\d{4})  (?:([+]\d\.\d{4})  \(([+-]\d\.\d{4}) to ([+]\d\.\d{4})\))? +(\d+%|-)  (.*)$"


def test_tune_ranks_its_configs_the_best_first(
    run: Run, csv_file: Path, grid: Path, base: Path, tmp_path: Path
) -> None:
    tune = ["tune", csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", base, "--grid", grid]
    ran = run(*tune, "--out", tmp_path / "model")
    assert ran.status == 0
    rows = re.findall(RANKED, ran.out, re.MULTILINE)
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    reports = {f"learning_rate {report.config.learning_rate:.3g}": report for report in reports_of(tmp_path / "model")}
    for _, loss, value, low, high, weight, name in rows:
        report = reports[name.removeprefix("only 5 epochs: ")]
        gap = report.log_loss_gap
        assert loss == f"{report.log_loss.value:.4f}"
        shown = (value, low, high) if value else ("+0.0000",) * 3
        assert shown == tuple(f"{number:+.4f}" for number in (gap.value, gap.low, gap.high))
        assert weight == (f"{report.weight:.0%}" if report.weight else "-")
        assert name.startswith("only 5 epochs: ") == (report.dropped_after == 5)
    losses = [float(row[1]) for row in rows]
    assert losses == sorted(losses)
    assert [row[6] for row in rows if row[6].startswith("only")] == ["only 5 epochs: learning_rate 0.0001"]
    assert re.search(
        r"^1 of 5 configs had a high loss after their first epochs and were dropped; training them to the end would "
        r"have taken (about \d+|less than 1) s more \(extrapolated\)$",
        ran.out,
        re.MULTILINE,
    )
    head = next(line for line in ran.out.splitlines() if line.startswith("rank  "))
    first = next(line for line in ran.out.splitlines() if line.startswith("   1  "))
    assert head.index("config") == first.index("learning_rate")


def reports_of(path: Path) -> tuple[ConfigReport, ...]:
    """Return what a model file says of the configs that were tried."""
    return load(path).report.configs


def test_without_halving_all_configs_are_trained_to_the_end(
    run: Run, csv_file: Path, grid: Path, base: Path, tmp_path: Path
) -> None:
    tune = ["tune", csv_file, "--target", "answer", "--key", "id", *SMALL, "--settings", base, "--grid", grid]
    ran = run(*tune, "--no-halving", "--out", tmp_path / "model")
    assert ran.status == 0
    assert "dropped" not in ran.out
    assert [len(member.history) for member in load(tmp_path / "model").report.members] == [8] * 15


def configs_of(document: str) -> list[dict[str, Any]]:
    """Return the configs that were tried, from a command's JSON."""
    return [report["config"] for report in json.loads(document)["report"]["configs"]]


def test_random_configs_are_the_same_again_and_begin_with_the_settings_file(
    run: Run, csv_file: Path, quick: Path
) -> None:
    tune = ["tune", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick, "--json"]
    one, other = (configs_of(run(*tune, "--configs", number).out) for number in (3, 2))
    assert other == one[:2]
    assert (one[0]["hidden"], one[0]["max_epochs"]) == ([8], 3)
    assert len({str(config) for config in one}) == 3


def test_random_configs_keep_what_the_settings_file_and_the_options_name(run: Run, csv_file: Path, quick: Path) -> None:
    tune = ["tune", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick, "--json"]
    configs = configs_of(run(*tune, "--configs", "8", "--model", "residual").out)
    assert {(str(config["hidden"]), config["learning_rate"], config["model"]) for config in configs} == {
        ("[8]", 0.02, "residual")
    }
    assert len({config["dropout"] for config in configs}) > 1


def test_options_are_those_of_all_configs_of_a_grid(run: Run, csv_file: Path, quick: Path, tmp_path: Path) -> None:
    (tmp_path / "grid.toml").write_text("weight_decay = [0.0, 0.3]\n", encoding="utf-8")
    tune = ["tune", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", quick, "--json"]
    configs = configs_of(run(*tune, *QUICK, "--seed", "4", "--grid", tmp_path / "grid.toml").out)
    assert [(config["model"], config["seed"], config["weight_decay"]) for config in configs] == [
        ("logistic", 4, 0.0), ("logistic", 4, 0.3)
    ]  # fmt: skip


def test_a_budget_ends_tuning_with_some_configs_that_test_every_row(
    run: Run, csv_file: Path, grid: Path, tmp_path: Path
) -> None:
    base = tmp_path / "long.toml"
    base.write_text("max_epochs = 200\npatience = 1000000\nhidden = [8]\n", encoding="utf-8")
    tune = ["tune", csv_file, "--target", "answer", "--drop", "id", *SMALL, "--settings", base, "--grid", grid]
    ran = run(*tune, "--budget", "0.001", "--json")
    report = json.loads(ran.out)["report"]
    assert (ran.status, report["stop_reason"]) == (0, "budget")
    tried = [config for config in report["configs"] if config["log_loss"]["value"] is not None]
    assert 1 <= len(tried) < len(report["configs"]), "one is complete; no more time is taken"
    assert report["evaluation"]["n_rows"] == 90


# Reproduce


class FakeFindings:
    """Stands for an experiment's findings."""

    is_interrupted = False

    def to_dict(self) -> dict[str, Any]:
        return {"experiment": "wine"}

    def print(self, console: Any) -> None:
        console.print("the findings")


def test_reproduce_runs_the_experiment_of_its_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def run_experiment(name: str, seeds: int | None, messages: Any) -> FakeFindings:
        calls.append((name, seeds))
        return FakeFindings()

    monkeypatch.setattr("tabcohort.reproduce.experiments.run", run_experiment)
    ran = run("reproduce", "wine", "--seeds", "2")
    assert (ran.status, ran.out) == (0, "the findings\n")
    assert json.loads(run("reproduce", "cancer", "--json").out) == {"experiment": "wine"}
    assert calls == [("wine", 2), ("cancer", None)]


@pytest.mark.parametrize(("options", "halving"), [([], True), (["--no-halving"], False)])
def test_reproduce_runs_the_patents_grid(
    run: Run, monkeypatch: pytest.MonkeyPatch, options: list[str], halving: bool
) -> None:
    calls: list[bool] = []

    def run_grid(messages: Any, halving: bool) -> FakeFindings:
        calls.append(halving)
        return FakeFindings()

    monkeypatch.setattr("tabcohort.reproduce.experiments.run_grid", run_grid)
    assert run("reproduce", "patent", "--grid", *options).status == 0
    assert calls == [halving]


def test_reproduce_measures_the_patents_tables_and_says_when_it_was_interrupted(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int | None] = []

    def run_tables(seeds: int | None, messages: Any) -> FakeFindings:
        calls.append(seeds)
        findings = FakeFindings()
        findings.is_interrupted = seeds is not None
        return findings

    monkeypatch.setattr("tabcohort.reproduce.experiments.run_tables", run_tables)
    assert run("reproduce", "patent", "--tables").status == 0
    assert run("reproduce", "patent", "--tables", "--seeds", "2").status == 130
    assert calls == [None, 2]


@pytest.mark.parametrize("arguments", [["wine", "--tables"], ["patent", "--tables", "--grid"]])
def test_tables_are_those_of_the_patent_document_alone(run: Run, arguments: list[str]) -> None:
    ran = run("reproduce", *arguments)
    assert ran.status == 2
    assert "--tables is the result tables of 'patent', without --grid" in ran.err


def test_reproduce_writes_a_page_and_checks_its_place_before_it_trains(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run_experiment(name: str, seeds: int | None, messages: Any) -> Findings:
        return Findings(name, "small <title>", (), (), (), 1.0)

    monkeypatch.setattr("tabcohort.reproduce.experiments.run", run_experiment)
    ran = run("reproduce", "wine", "--seeds", "2", "--report", tmp_path / "wine.html")
    assert ran.status == 0
    assert f"written  {tmp_path / 'wine.html'}" in ran.err
    page = (tmp_path / "wine.html").read_text(encoding="utf-8")
    assert "small &lt;title&gt;" in page
    assert "<code>tabcohort reproduce wine --seeds 2</code>" in page
    monkeypatch.setattr("tabcohort.reproduce.experiments.run", None)  # which would fail if it were called
    ran = run("reproduce", "wine", "--report", tmp_path / "nowhere" / "wine.html")
    assert ran.status == 2
    assert "there is no folder" in ran.err


def test_tune_begins_with_what_fit_tries(run: Run, csv_file: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("seed = 3\n")
    out = tmp_path / "new.tabcohort"
    options = ("--configs", "2", "--settings", tmp_path / "run.toml", *SMALL, "--out", out)
    assert run("tune", csv_file, "--target", "answer", "--drop", "id", *options).status == 0
    tried = [config.config for config in load(out).report.configs]
    assert tried == preset_configs("default", Config(seed=3))[:2]
