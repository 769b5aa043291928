"""Whether presets that are chosen on half of the tables do as well on the other half.

    make halves

For each half, forward selection takes the four configs that are best together on it, from the predictions that
`make ablations` keeps. They are fitted and measured on all tables in the manner of `make accuracy`; `TABCOHORT_PEERS`
is used as there. Prints the mean rank by log loss, among the other classifiers, of the configs on the half that they
were chosen on and on the other half, and their log loss beside that of the default preset.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import numpy as np
from ablations import CONFIGS, KEPT, Predictions, forward_selection, predictions_of, ratio_of_means
from accuracy import LARGE, PEERS_VARIABLE, RESULTS, SPLITS, by_table, mean_ranks
from markdown_table import as_markdown
from real_tables import RealTable, fit_and_held_out_rows, whole_tables

from tabcohort import CohortSettings, Config, Table, fit
from tabcohort.evaluation.metrics import log_loss

N_CHOSEN, BEFORE = 4, "mlp (before)"
MAX_ROWS = 1_000  # of a table, to choose on
OTHERS = ["catboost", "lightgbm", "xgboost", "logreg"]


def some_rows(predictions: Predictions) -> Predictions:
    """Return the predictions of a random sample of the rows, the same ones of each config."""
    n_rows = len(predictions[BEFORE].y)
    rows = np.sort(np.random.default_rng(0).permutation(n_rows)[:MAX_ROWS])
    return {name: own.take(rows) for name, own in predictions.items()}


def loss_of(table: RealTable, configs: list[Config]) -> float:
    """Return the mean log loss on held-out rows over the splits of `make accuracy`."""
    losses = []
    for seed in range(1 if len(table.frame) > LARGE else SPLITS):
        frame, to_fit, held_out = fit_and_held_out_rows(table, seed)
        rows = Table.from_frame(frame[to_fit], table.target, positive=table.positive)
        others = Table.for_schema(frame[held_out], rows.schema)
        predictor = fit(rows, configs, CohortSettings(preset=None, halving=False))
        losses.append(log_loss(predictor.log_proba_of(others), others.y, others.weight))
    return float(np.mean(losses))


def main() -> None:
    """Choose on either half, and measure on both."""
    warnings.simplefilter("ignore")
    recorded = Path(os.environ[PEERS_VARIABLE]).read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in [*recorded, *RESULTS.read_text(encoding="utf-8").splitlines()]]
    known = by_table(lines, "logloss")  # of a split that was measured twice the mean
    tables = {table.name: table for table in whole_tables() if (KEPT / f"{table.name}.npz").is_file()}
    predictions = {name: predictions_of(table) for name, table in tables.items()}
    before = {
        name: log_loss(own[BEFORE].log_proba, own[BEFORE].y, own[BEFORE].weight) for name, own in predictions.items()
    }
    halves = [sorted(tables)[::2], sorted(tables)[1::2]]
    shown = []
    for number, half in enumerate(halves):
        own = {name: some_rows(predictions[name]) for name in half}
        chosen = [name for name, _ in forward_selection(own, before, N_CHOSEN)]
        print(f"half {number + 1}: {', '.join(half)}\n  chosen: {'; '.join(chosen)}", flush=True)
        losses = {name: loss_of(table, [CONFIGS[config] for config in chosen]) for name, table in tables.items()}
        for judged in (0, 1):
            of = {
                name: {
                    "chosen": losses[name],
                    **{other: known[name][other] for other in OTHERS if other in known[name]},
                }
                for name in halves[judged]
            }
            ratio = ratio_of_means([losses[name] / known[name]["default"] for name in halves[judged]])
            rank = mean_ranks(of, ["chosen", *OTHERS], 1)
            shown.append(
                [f"half {number + 1}, judged on half {judged + 1}", f"{rank['chosen']:.2f}",
                 f"{min(rank[other] for other in OTHERS):.2f}", f"{ratio:.3f}"]
            )  # fmt: skip
            print(shown[-1], flush=True)
    print(as_markdown(["chosen on", "mean rank", "best other", "log loss / default preset"], shown))


if __name__ == "__main__":
    main()
