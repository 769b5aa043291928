"""Presets beside other classifiers' defaults: loss, ranking, calibration and seconds on held-out rows.

    make accuracy

A quarter of each table's rows is held out, at most 8,000 to fit on and 8,000 held out, three splits below 2,000 rows.
Results are appended to `accuracy.jsonl` beside this file, one line per table, split and preset, so that a run that was
stopped goes on. Logistic regression, and CatBoost and LightGBM where they are installed, are fitted, too;
`TABCOHORT_PEERS` names a file of such lines of others on the same splits, with `data`, `seed`, `method`, `logloss`,
`auc`, `acc` and `fit_s`. Writes `accuracy.md` and `accuracy.png`.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import peers
import polars as pl
from markdown_table import as_markdown
from real_tables import RealTable, fit_and_held_out_rows, whole_tables
from sklearn.metrics import accuracy_score, roc_auc_score

from tabcohort import CohortSettings, Config, Table
from tabcohort.cohort.fit import fit
from tabcohort.cohort.presets import PRESETS, preset_cohort
from tabcohort.evaluation.metrics import calibration_error, log_loss

PEERS_VARIABLE = "TABCOHORT_PEERS"
RESULTS = Path(__file__).with_suffix(".jsonl")
SPLITS, LARGE = 3, 2_000
MOST = 0.8  # of the tables, that a method must be measured on to have a rank
Result = dict[str, Any]


def measure(table: RealTable, seed: int, method: str) -> Result:
    """Return how a preset, or another classifier that is installed, does on one split of a table."""
    frame, to_fit, held_out = fit_and_held_out_rows(table, seed)
    began = time.perf_counter()
    rows = Table.from_frame(frame[to_fit], table.target, positive=table.positive)
    if method in PRESETS:
        settings = CohortSettings(preset=method)
        predictor = fit(rows, *preset_cohort(rows, Config(seed=seed), settings))
        fit_seconds = time.perf_counter() - began
        others = Table.for_schema(frame[held_out], predictor.schema)
        began = time.perf_counter()
        log_proba = predictor.log_proba_of(others)
        predict_seconds = time.perf_counter() - began
    else:
        others = Table.for_schema(frame[held_out], rows.schema)
        log_proba, fit_seconds, predict_seconds = peers.log_proba_and_seconds(method, rows, others)
    return {
        "data": table.name, "seed": seed, "method": method, "n": len(rows.y), "fit_s": fit_seconds,
        "pred_s": predict_seconds, "logloss": log_loss(log_proba, others.y, others.weight),
        "acc": accuracy_score(others.y, log_proba.argmax(axis=1)), "auc": auc_of(np.exp(log_proba), others.y),
        "ece": calibration_error(log_proba, others.y, others.weight),
    }  # fmt: skip


def auc_of(proba: np.ndarray, y: np.ndarray) -> float:
    """Return the area under the ROC curve, the mean of each class against the rest where there are more than two."""
    if proba.shape[1] == 2:
        return float(roc_auc_score(y, proba[:, 1]))
    return float(roc_auc_score(y, proba / proba.sum(axis=1, keepdims=True), multi_class="ovr"))


def by_table(results: list[Result], metric: str) -> dict[str, dict[str, float]]:
    """Return the mean of a metric over the splits of each table, by table and method."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        if "error" not in result and np.isfinite(result.get(metric, np.nan)):
            values[result["data"]][result["method"]].append(result[metric])
    return {
        table: {method: float(np.mean(of_method)) for method, of_method in methods.items()}
        for table, methods in values.items()
    }


def mean_ranks(values: dict[str, dict[str, float]], methods: list[str], sign: int) -> dict[str, float]:
    """Return the mean rank of each method over tables; one that has no figure comes last, equal ones share a rank."""
    ranks: dict[str, list[float]] = defaultdict(list)
    for of_table in values.values():
        score = {method: sign * of_table[method] if method in of_table else np.inf for method in methods}
        for method in methods:
            better = sum(score[other] < score[method] for other in methods)
            equal = sum(score[other] == score[method] for other in methods) - 1
            ranks[method].append(1 + better + equal / 2)
    return {method: float(np.mean(ranks[method])) for method in methods}


def summary(results: list[Result], methods: list[str]) -> list[list[str]]:
    """Return a line per method: mean ranks among those that are measured on most tables, wins, errors and seconds.

    Ranks are over the tables that other classifiers are measured on.
    """
    losses, aucs, eces, seconds = (by_table(results, name) for name in ("logloss", "auc", "ece", "fit_s"))
    ranked = [method for method in methods if sum(method in of for of in losses.values()) > MOST * len(losses)]
    others = [method for method in ranked if method not in PRESETS]
    tables = [table for table, of in losses.items() if not others or any(other in of for other in others)]
    by_loss, by_auc = (
        mean_ranks({table: values[table] for table in tables}, ranked, sign)
        for values, sign in ((losses, 1), (aucs, -1))
    )
    lines = []
    for method in sorted(methods, key=lambda method: by_loss.get(method, np.inf)):
        common = [of for of in losses.values() if method in of and "default" in of]
        wins = sum(of["default"] < of[method] for of in common)
        ranks = [f"{of[method]:.2f}" if method in of else "-" for of in (by_loss, by_auc)]
        against = "-" if method == "default" else f"{wins} of {len(common)}"
        ece = [of[method] for of in eces.values() if method in of]
        total = sum(seconds[table][method] for table in tables if method in seconds[table])
        n_tables = sum(method in losses[table] for table in tables)
        lines.append(
            [method, str(n_tables), *ranks, against, f"{np.mean(ece):.4f}" if ece else "-", f"{total:,.0f}"]
        )  # fmt: skip
    return lines


def draw(results: list[Result], methods: list[str], path: Path) -> None:
    """Draw each method's log loss beside the best one's of each table, against its seconds; medians over tables."""
    losses, seconds = by_table(results, "logloss"), by_table(results, "fit_s")
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for method in methods:
        tables = [table for table in losses if method in losses[table]]
        excess = np.median([losses[table][method] / min(losses[table].values()) - 1 for table in tables])
        took = np.exp(np.mean([np.log(seconds[table][method]) for table in tables]))
        axes.scatter(took, 100 * excess, color="#0b6e4f" if method in PRESETS else "#888888")
        axes.annotate(method, (took, 100 * excess), xytext=(5, 5), textcoords="offset points")
    axes.set(
        xscale="log", xlabel="seconds to fit (geometric mean over tables)",
        ylabel="log loss above the best of each table, % (median)",
    )  # fmt: skip
    figure.savefig(path, dpi=120, bbox_inches="tight")


def write_report(results: list[Result]) -> None:
    """Print the summary, and write it with all losses and the picture."""
    recorded = os.environ.get(PEERS_VARIABLE)
    if recorded:
        done = {(result["data"], result["method"]) for result in results}
        lines = [json.loads(line) for line in Path(recorded).read_text(encoding="utf-8").splitlines()]
        results = results + [line for line in lines if (line["data"], line["method"]) not in done]
    ours = {(result["data"], result["seed"]) for result in results if result["method"] in PRESETS}
    results = [result for result in results if (result["data"], result["seed"]) in ours]
    methods = list(dict.fromkeys(result["method"] for result in results))
    losses = by_table(results, "logloss")
    header = [
        "method", "tables", "mean rank, log loss", "mean rank, AUC", "default has the lower log loss",
        "calibration error", "seconds to fit",
    ]  # fmt: skip
    in_short = as_markdown(header, summary(results, methods))
    each = [[table, *(f"{of.get(method, np.nan):.4f}" for method in methods)] for table, of in losses.items()]
    title = f"# Presets and other classifiers' defaults, {len(losses)} tables (`make accuracy`)"
    text = "\n\n".join([title, in_short, "## Log loss on held-out rows", as_markdown(["table", *methods], each)])
    print(in_short)
    Path(__file__).with_suffix(".md").write_text(f"{text}\n", encoding="utf-8")
    draw(results, methods, Path(__file__).with_suffix(".png"))


def main() -> None:
    """Measure what is not measured yet: all methods on all tables, or those methods and tables that are named."""
    warnings.simplefilter("ignore")
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    results = [json.loads(line) for line in lines]
    done = {(result["data"], result["seed"], result["method"]) for result in results}
    named, methods = set(sys.argv[1:]), dict.fromkeys([*PRESETS, *peers.NAMES]).keys()
    for table in whole_tables():
        for seed in range(1 if len(table.frame) > LARGE else SPLITS):
            for method in methods:
                is_named = (not named & methods or method in named) and (not named - methods or table.name in named)
                if is_named and (table.name, seed, method) not in done:
                    result = measure(table, seed, method)
                    results.append(result)
                    with RESULTS.open("a", encoding="utf-8") as file:
                        file.write(f"{json.dumps(result)}\n")
                    print(pl.DataFrame([result]).row(0), flush=True)
    write_report(results)


if __name__ == "__main__":
    main()
