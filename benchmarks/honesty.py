"""Is the reported figure the true one? Small samples of the breast-cancer table, 200 of each size.

    make honesty

Each repeat draws n of the 569 rows, trains on them with the default roles (train, stop, score), and compares what the
scoring rows report with the truth: the same model on all rows that were not drawn. Beside it, the same training with
the stopping rows reporting as well, as the reference documents do. A protocol is honest if the mean of reported minus
true lies within two standard errors of zero.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table as Printed

from tabcohort import Roles, Settings, Table, build_model, draw_weights, load_sample, table_from_frame, train
from tabcohort.evaluate import Scorer, log_probabilities
from tabcohort.modules import as_double, module_logits
from tabcohort.plan import Purpose, generator
from tabcohort.roles import split_roles

SIZES = (50, 100, 200, 400)
METRICS = ("accuracy", "log_loss")
SETTINGS = Settings(model="logistic", learning_rate=0.01)
NO_ROWS: NDArray[np.int64] = np.empty(0, dtype=np.int64)


def measure(module: object, table: Table, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return accuracy and log loss of a module on some rows of a table."""
    logits = module_logits(as_double(module), table.X[rows])
    found = Scorer(log_probabilities(logits), table.y[rows], positive=None).metrics(table.weight[rows])
    return np.array([found[name] for name in METRICS])


def reported_minus_true(table: Table, drawn: NDArray[np.int64], roles: Roles, judges: NDArray[np.int64], seed: int):
    """Train on the drawn rows, and return what the judging rows report less what all other rows say."""
    settings = Settings(**{**SETTINGS.to_dict(), "seed": seed})
    module = build_model(settings, table.X.shape[1], len(table.schema.classes))
    draw_weights(module, seed)
    train(module, table, settings, roles=roles)
    others = np.setdiff1d(np.arange(len(table.y)), drawn)
    return measure(module, table, judges) - measure(module, table, others)


def one_repeat(table: Table, n: int, repeat: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return reported minus true of three roles, and of the same rows with stopping and scoring on one set."""
    drawn = generator(repeat, Purpose.SAMPLE, place=n).choice(len(table.y), n, replace=False)
    sample = Table(table.X[drawn], table.y[drawn], table.weight[drawn], table.schema)
    split = split_roles(sample.X, sample.y, sample.weight, Settings(seed=repeat))
    train_rows, stop_rows, score_rows = (drawn[rows] for rows in (split.train, split.stop, split.score))
    proper = Roles(train_rows, stop_rows, score_rows)
    documents = Roles(np.concatenate([train_rows, stop_rows]), score_rows, NO_ROWS)
    return (
        reported_minus_true(table, drawn, proper, score_rows, repeat),
        reported_minus_true(table, drawn, documents, score_rows, repeat),
    )


def main() -> None:
    """Print the table of differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    sample = load_sample("breast-cancer")
    table = table_from_frame(sample.frame, sample.target, positive=sample.positive)
    printed = Printed("n", "protocol", "metric", "reported - true", "standard error", "in standard errors", box=None)
    for n in SIZES:
        found = np.array([one_repeat(table, n, repeat) for repeat in track(range(repeats), f"n = {n}", transient=True)])
        for protocol, name in enumerate(("three roles", "stops and scores on the same rows")):
            for metric, label in enumerate(METRICS):
                values = found[:, protocol, metric]
                mean, error = values.mean(), values.std(ddof=1) / np.sqrt(repeats)
                printed.add_row(str(n), name, label, f"{mean:+.4f}", f"{error:.4f}", f"{mean / error:+.1f}")
    Console(width=120).print(printed)


if __name__ == "__main__":
    main()
