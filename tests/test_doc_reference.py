"""The pages of reference: their tables say what the code says; and the figures of the README are explained."""

from __future__ import annotations

import argparse
import dataclasses
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from doc_pages import DOCS, ROOT, numbers_in, read, table_rows
from helpers import fit_quickly, make_small_table

from tabcohort import CohortSettings, Config, ConfigReport, save
from tabcohort.cli.commands import N_RANDOM_CONFIGS
from tabcohort.cli.parser import make_parser
from tabcohort.cohort.presets import FOLDS
from tabcohort.container import FORMAT, MAGIC, read_container
from tabcohort.data.splits import COHORT_SIZES
from tabcohort.evaluation.intervals import UNKNOWN
from tabcohort.evaluation.metrics import METRICS
from tabcohort.model.facts import config_facts, evaluation_facts, facts
from tabcohort.model.file import OUT_OF_FOLD
from tabcohort.model.learned import learned_facts


def test_the_settings_tables_name_every_field_with_its_default() -> None:
    rows = table_rows("reference/settings*.md", r"`\w+`", r"`[^`]*`", r"\w.*|`.*")
    defaults = {name.strip("`"): tomllib.loads(f"value = {default.strip('`')}")["value"] for name, default, _ in rows}
    fields = [*dataclasses.fields(Config), *dataclasses.fields(CohortSettings)]
    assert len(rows) == len(defaults)
    expected = {
        field.name: "none"
        if field.default is None
        else list(field.default)
        if field.name == "hidden"
        else field.default
        for field in fields
    }
    assert defaults == expected  # as a settings file spells them


def test_the_command_line_pages_list_every_command_and_option() -> None:
    (subparsers,) = (action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    options = table_rows("reference/cli*.md", r"`--[^`]+`", "[a-z, ]+", ".+")
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
    assert f"number of random configs, {N_RANDOM_CONFIGS} if omitted" in read(DOCS / "reference/cli-training.md")


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


def test_the_json_page_names_every_key_of_what_a_model_has_learned() -> None:
    table = make_small_table()
    _, section = read(DOCS / "reference/json.md").split("## What a model has learned")
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(
        learned_facts(fit_quickly(table, model="logistic"), table)
    )


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
    assert parts == ["schema", "report", "times", "members", "calibrator", "decision_rule"]
    assert set(parts) <= set(document)


def test_the_training_page_says_how_many_networks_there_are() -> None:
    rows = table_rows("guide/training.md", r"[\d,]+|more", r"\d+", r"\d+")
    limits = [math.inf if limit == "more" else float(limit.replace(",", "")) for limit, _, _ in rows]
    assert f"{FOLDS['fast']} folds, one seed" in read(DOCS / "guide/training.md")
    assert f"the preset `fast` has {FOLDS['fast']}" in read(DOCS / "reference/settings-cohort.md")
    assert tuple(zip(limits, (int(row[1]) for row in rows), (int(row[2]) for row in rows), strict=True)) == COHORT_SIZES


def test_the_figures_page_has_every_figure_of_the_readme() -> None:
    """A row of the README's table has a row there with the same times and the same ratio."""
    _, section = read(ROOT / "README.md").split("## Figures")
    section, _ = section.split("\n## ", 1)
    page = read(DOCS / "explanation/figures.md")
    assert numbers_in(section) <= numbers_in(page)
    rows = re.findall(r"^\|.*\| ([\d,.]+ ms) \| ([\d,.]+ ms) \| ([\d.]+) \|$", section, re.MULTILINE)
    assert len(rows) >= 6
    for theirs, ours, ratio in rows:
        assert f"| {theirs} against {ours}, ratio {ratio} |" in page
