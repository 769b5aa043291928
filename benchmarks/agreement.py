"""Decision curves and calibration errors beside those of other packages, on the same out-of-fold predictions.

    make agreement

The positive class of each table, by the preset `fast`. The net benefit is compared with that of `dcurves` (the package
of the method's authors) at thresholds from 0.01 to 0.99. The calibration error is compared with the binned one of
`relplot`, which is defined as ours is, but for a confidence of exactly 1: that has a bin of its own there, and is in
the last one here. Beside it is relplot's smooth error (Blasiok & Nakkiran 2023), which is another quantity: it has no
bins, but a kernel whose width it chooses, so it is not to be equal. Writes `agreement.md` beside this file.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from dcurves import dca
from markdown_table import as_markdown
from real_tables import MIN_ROWS_OF_CLASS, RealTable, usable_rows, whole_tables
from relplot import smECE
from relplot.metrics import binnedECE
from rich.console import Console
from rich.table import Table as Printed

from tabcohort import CohortSettings, OutOfFoldPredictions, Table, fit
from tabcohort.evaluation.decision import LabelledRows, rows_of
from tabcohort.evaluation.decision_curve import decision_curve
from tabcohort.evaluation.metrics import ECE_BINS

TABLES = ("breast-cancer", "german_credit", "telco_churn", "stroke")
THRESHOLDS = np.arange(1, 100) / 100
COLUMNS = (
    "table", "rows", "net benefit at 0.2", "of dcurves", "largest difference", "calibration error", "95 % interval",
    "of relplot", "smooth, of relplot",
)  # fmt: skip


def largest_difference(rows: LabelledRows) -> tuple[float, float, float]:
    """Return our net benefit and that of `dcurves` at 0.2, and the largest difference at any threshold.

    Both the curve of the model and that of acting on all rows are compared.
    """
    data = pd.DataFrame({"y": rows.is_positive, "model": rows.proba.astype(np.float64)})
    theirs = dca(data, "y", ["model"], thresholds=THRESHOLDS).pivot(index="threshold", columns="model")["net_benefit"]
    ours = decision_curve(rows, THRESHOLDS)
    model, treat_all = (theirs[name].to_numpy() for name in ("model", "all"))
    differences = [
        np.array([point.model.value for point in ours]) - model,
        np.array([point.treat_all for point in ours]) - treat_all,
    ]
    place = int(np.flatnonzero(THRESHOLDS == 0.2)[0])
    return ours[place].model.value, float(model[place]), float(np.abs(differences).max())


def calibration_errors_of_relplot(predictions: OutOfFoldPredictions) -> tuple[float, float]:
    """Return the calibration error of the predicted class, in as many bins as ours, and the smooth one."""
    proba = np.exp(predictions.log_proba.astype(np.float64))
    confidence, is_correct = proba.max(axis=1), (proba.argmax(axis=1) == predictions.y).astype(np.float64)
    return binnedECE(confidence, is_correct, nbins=ECE_BINS), float(smECE(confidence, is_correct))


def measure(table: RealTable) -> tuple[tuple[str, ...], tuple[float, float]]:
    """Return a row of the results, and the largest differences of net benefits and of calibration errors."""
    frame = usable_rows(table, MIN_ROWS_OF_CLASS)
    types = {name: "category" for name in table.categories if name in frame.columns}
    whole = Table.from_frame(frame, table.target, positive=table.positive, types=types)
    predictor = fit(whole, settings=CohortSettings(preset="fast"))
    predictions = predictor.out_of_fold
    ours, theirs, difference = largest_difference(rows_of(predictions, predictor.schema.positive))
    ece = predictor.report.evaluation.metrics["ece"]
    binned, smooth = calibration_errors_of_relplot(predictions)
    row = (
        table.name, f"{len(predictions.y):,}", f"{ours:.6f}", f"{theirs:.6f}", f"{difference:.0e}",
        f"{ece.value:.6f}", f"{ece.low:.4f} to {ece.high:.4f}", f"{binned:.6f}", f"{smooth:.6f}",
    )  # fmt: skip
    return row, (difference, abs(ece.value - binned))


def main() -> None:
    """Measure all tables, or those that are named, print the results, and write them to a file."""
    warnings.simplefilter("ignore")
    names = sys.argv[1:] or TABLES
    rows, differences = [], []
    for table in whole_tables():
        if table.name in names:
            row, of_table = measure(table)
            rows.append(row)
            differences.append(of_table)
            print(*row, flush=True)
    printed = Printed(*COLUMNS, box=None)
    for row in rows:
        printed.add_row(*row)
    of_benefits, of_errors = np.max(differences, axis=0)
    summary = (
        f"The net benefits differ by at most {of_benefits:.0e}, at {len(THRESHOLDS)} thresholds of each table, and the "
        f"binned calibration errors by at most {of_errors:.0e}. The smooth error is another quantity."
    )
    Console(width=160).print(printed, summary)
    title = "# Decision curves and calibration errors beside `dcurves` and `relplot` (`make agreement`)"
    what = f"Out-of-fold predictions of the preset `fast`. Calibration errors: of the predicted class, {ECE_BINS} bins."
    text = "\n\n".join([title, what, as_markdown(COLUMNS, rows), summary])
    if not sys.argv[1:]:
        Path(__file__).with_suffix(".md").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
