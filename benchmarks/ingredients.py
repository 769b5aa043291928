"""What each ingredient of networks gives alone: out-of-fold log loss, beside the same config without it.

    python benchmarks/ingredients.py

The configs are SMOOTH and BINS of the presets, the tables those below, of at most 2,000 rows, five folds, one seed.
What was measured is kept in `build/ingredients`, so that a run that was stopped goes on. Writes a section of
`ablations.md` beside this file.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ablations import INGREDIENTS, MIN_ROWS_OF_CLASS, SETTINGS, ratio_of_means
from real_tables import RealTable, usable_rows, whole_tables

from tabcohort import Config, Table
from tabcohort.cohort.plan import make_plan
from tabcohort.cohort.presets import BINS, SMOOTH
from tabcohort.cohort.runner import run
from tabcohort.cohort.selection import out_of_fold
from tabcohort.evaluation.metrics import log_loss

MAX_ROWS = 2_000
TABLES = (
    "pima_diabetes", "vehicle", "phoneme", "german_credit", "stroke", "student_dropout", "sick", "mammography",
    "give_me_credit", "heart_cleveland",
)  # fmt: skip
KEPT = Path(__file__).parents[1] / "build" / "ingredients"
RESULTS = Path(__file__).with_name("ablations.md")
WHOLE: Mapping[str, Any] = {"max_epochs": 60, "patience": None}  # so that a schedule takes its course
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "scaling robust": {"scaling": "robust"},
    "scaling quantile": {"scaling": "quantile"},
    "activation mish": {"activation": "mish"},
    "activation selu": {"activation": "selu"},
    "input_scale": {"input_scale": True},
    "periodic 8, scale 0.1": {"periodic": 8},
    "periodic 8, scale 0.5": {"periodic": 8, "periodic_scale": 0.5},
    "60 epochs": WHOLE,
    "60 epochs, schedule coslog4": {**WHOLE, "schedule": "coslog4"},
    "60 epochs, schedule flat_cosine": {**WHOLE, "schedule": "flat_cosine"},
    "60 epochs, decay_schedule flat_cosine": {**WHOLE, "decay_schedule": "flat_cosine"},
    "60 epochs, dropout_schedule flat_cosine": {**WHOLE, "dropout_schedule": "flat_cosine"},
}
BASES = {name: replace(Config(), **candidate.changes) for name, candidate in (("SMOOTH", SMOOTH), ("BINS", BINS))}
Losses = dict[str, list[float]]  # log loss and seconds of each config


def losses_of(table: RealTable) -> Losses:
    """Return log loss and seconds of training of every config on a table, from where they are kept if there."""
    path = KEPT / f"{table.name}.json"
    if path.is_file():
        kept: Losses = json.loads(path.read_text(encoding="utf-8"))
        return kept
    frame = usable_rows(table, MIN_ROWS_OF_CLASS)
    frame = frame.sample(MAX_ROWS, seed=0) if len(frame) > MAX_ROWS else frame
    configs = {
        f"{base}: {name}": replace(config, **changes)
        for base, config in BASES.items()
        for name, changes in {"": {}, **CHANGES}.items()
    }
    settings = replace(SETTINGS, threads=1)
    plan = make_plan(Table.from_frame(frame, table.target, positive=table.positive), list(configs.values()), settings)
    result = run(plan)
    names, losses = list(configs), {}
    for number, own in out_of_fold(plan, result).items():
        states = [trained.state for member, trained in result.members.items() if member.config == number]
        seconds = sum(state.history[-1].seconds for state in states)
        losses[names[number]] = [log_loss(own.log_proba, own.y, own.weight), seconds]
    KEPT.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(losses), encoding="utf-8")
    return losses


def main() -> None:
    """Measure all tables and write what was found."""
    warnings.simplefilter("ignore")
    by_name = {table.name: table for table in whole_tables() if table.name in TABLES}
    tables: dict[str, Losses] = {}
    for name in TABLES:
        if name in by_name:
            tables[name] = losses_of(by_name[name])
            print(name, flush=True)
            write(tables)


def write(tables: Mapping[str, Losses]) -> None:
    """Write the section on the ingredients, and leave the rest of the file as it is."""
    lines = [
        f"{INGREDIENTS}, {len(tables)} tables of at most {MAX_ROWS:,} rows (`python benchmarks/ingredients.py`)",
        "",
        "Mean ratio of the log loss with the ingredient to that without; tables on which it is lower and higher; ratio",
        f"of the seconds of training. Tables: {', '.join(tables)}.",
        "",
        f"| ingredient | {' | '.join(f'{base}: ratio | lower, higher | seconds' for base in BASES)} |",
        f"|---|{'---:|---:|---:|' * len(BASES)}",
    ]
    for name in CHANGES:
        cells = []
        for base in BASES:
            pairs = [(own[f"{base}: {name}"], own[f"{base}: "]) for own in tables.values()]
            ratios = [ours[0] / before[0] for ours, before in pairs]
            n_lower, n_higher = sum(ratio < 1 for ratio in ratios), sum(ratio > 1 for ratio in ratios)
            seconds = sum(ours[1] for ours, _ in pairs) / sum(before[1] for _, before in pairs)
            cells += [f"{ratio_of_means(ratios):.4f}", f"{n_lower}, {n_higher}", f"{seconds:.2f}"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    before = RESULTS.read_text(encoding="utf-8").partition(INGREDIENTS)[0]
    RESULTS.write_text("\n".join([before + lines[0], *lines[1:], ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
