"""The command line: a thin shell over the library, which catches one error and prints its sentence.

What a command needs is imported when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tabcohort import __version__
from tabcohort.errors import ModelFileError, SettingsError, TabcohortError, TabcohortWarning
from tabcohort.reproduce import EXPERIMENTS

if TYPE_CHECKING:
    from tabcohort.files import Sample
    from tabcohort.table import Table

USER_ERROR, INTERRUPTED = 2, 130
FAR = 20.0  # standard deviations


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0, 2 for what the person can mend, 130 for Ctrl-C."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help(sys.stderr)
        return USER_ERROR
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        return int(options.run(options))
    except TabcohortError as error:
        print(f"tabcohort: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("tabcohort: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, `| head` for one
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


class _Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """Print one sentence and exit."""
        self.exit(USER_ERROR, f"tabcohort: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="tabcohort",
        description="Neural classifiers for tables that you can trust.",
        epilog="Start here: tabcohort fit sample:breast-cancer --out cancer.tabcohort",
    )
    parser.add_argument("--version", action="version", version=f"tabcohort {__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(metavar="COMMAND")
    table = "CSV, TSV (also gzipped) or Parquet, or sample:breast-cancer, sample:wine, sample:digits, sample:iris"

    fit = _command(commands, "fit", _fit, "train a classifier on a table and score it on rows that it never saw")
    fit.add_argument("table", metavar="TABLE", help=table)
    fit.add_argument("--target", metavar="COLUMN", help="the column to predict (a sample knows its own)")
    fit.add_argument("--positive", metavar="LABEL", help="the positive class of two (else the last in sorted order)")
    fit.add_argument(
        "--key", metavar="COLUMN", action="append", default=[], help="identifies a row, never predicts; may repeat"
    )
    fit.add_argument("--drop", metavar="COLUMN", action="append", default=[], help="leave this column out; may repeat")
    fit.add_argument("--out", metavar="MODEL", help="write the model to this file (MODEL.tabcohort)")
    fit.add_argument("--curves", metavar="FILE.png", help="draw losses and metric per epoch")
    fit.add_argument("--model", choices=("logistic", "mlp", "residual"))
    fit.add_argument("--settings", metavar="FILE.toml", help="all other settings; the README lists them")
    fit.add_argument("--seed", type=int, metavar="N")
    fit.add_argument("--engine", choices=("auto", "torch", "compiled"))
    fit.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"))
    fit.add_argument("--checkpoint", metavar="FILE", help="write the position to this file, and go on from it")

    predict = _command(commands, "predict", _predict, "answer for the rows of a table")
    predict.add_argument("model", metavar="MODEL", help="a file that fit wrote")
    predict.add_argument("table", metavar="TABLE", help=table)
    predict.add_argument("--out", metavar="FILE", help="write CSV (or .parquet) here instead of standard output")

    evaluate = _command(commands, "evaluate", _evaluate, "measure a model on a table that has the target")
    evaluate.add_argument("model", metavar="MODEL", help="a file that fit wrote")
    evaluate.add_argument("table", metavar="TABLE", help=table)

    info = _command(commands, "info", _info, "show what a model file holds")
    info.add_argument("model", metavar="MODEL", help="a file that fit wrote")

    reproduce = _command(commands, "reproduce", _reproduce, "run a reference document's experiment beside its claims")
    reproduce.add_argument("name", metavar="NAME", choices=EXPERIMENTS, help=", ".join(EXPERIMENTS))
    reproduce.add_argument("--seeds", type=int, metavar="N", help="how many seeds (default: as the experiment says)")
    return parser


def _command(commands: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
    parser.add_argument("--json", action="store_true", help="print one JSON document, and nothing else")
    parser.set_defaults(run=run)
    return parser


def _fit(options: argparse.Namespace) -> int:
    from tabcohort.report import EpochWatcher, print_model
    from tabcohort.settings import Settings

    overrides = {name: getattr(options, name) for name in ("model", "seed", "engine", "device", "positive")}
    given = {name: value for name, value in overrides.items() if value is not None}
    settings = Settings.from_toml(options.settings, **given) if options.settings else Settings(**given)
    _check_outputs((options.out, options.curves, options.checkpoint), inputs=(options.table, options.settings))
    if options.curves and Path(options.curves).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise SettingsError(f"{options.curves!r} must end in .png, .svg or .pdf")
    out, messages = _consoles()
    messages.print(f"reading {options.table}", markup=False)
    sample = _open(options.table)
    table = _table(sample, options, settings.positive)
    messages.print(f"{len(table.y):,} rows, {table.X.shape[1]} columns that predict")

    from tabcohort.artifact import describe, save
    from tabcohort.cohort import fit

    with EpochWatcher(messages, settings) as watcher:
        predictor = fit(table, settings, watcher, options.checkpoint)
    document = describe(predictor)
    if options.out:
        save(predictor, options.out)
    if options.curves:
        from tabcohort.curves import draw_curves

        draw_curves(predictor.report.history, predictor.report.best_epoch, settings.monitor, options.curves)
    if options.json:
        _print_json(document)
    else:
        print_model(out, document)
        out.print(_what_next(options), markup=False)
    return INTERRUPTED if predictor.report.stop_reason == "interrupted" else 0


def _what_next(options: argparse.Namespace) -> str:
    curves = f"\ncurves   {options.curves}" if options.curves else ""
    if not options.out:
        return f"{curves}\nnot kept: add --out MODEL.tabcohort to keep this model and predict with it"
    table = options.table if options.table.startswith("sample:") else "NEW_TABLE"
    on_path = shutil.which("tabcohort") or Path(sys.argv[0]).name != "tabcohort"
    command = "tabcohort" if on_path else os.path.relpath(sys.argv[0])
    return f"{curves}\nmodel    {options.out}\nnext     {command} predict {options.out} {table}"


def _predict(options: argparse.Namespace) -> int:
    from tabcohort.artifact import load

    _check_outputs((options.out,), inputs=(options.model, options.table))
    if options.out and Path(options.out).suffix.lower() not in (".csv", ".parquet"):
        raise SettingsError(f"{options.out!r} must end in .csv or .parquet")
    predictor = load(options.model)
    frame = _open(options.table).frame
    schema = predictor.schema
    extra = [name for name in frame.columns if name not in (*schema.features, *schema.keys, schema.target)]
    if extra:
        print(f"ignored, as the model was trained without them: {', '.join(extra[:10])}", file=sys.stderr)
    import polars as pl

    from tabcohort.columns import feature_matrix

    X = feature_matrix(frame, schema.features)
    proba = predictor.predict_proba(X)
    _warn_of_strange_cell(predictor.farthest_cell(X), frame)
    keys = [_plain_column(frame[name]) for name in schema.keys if name in frame.columns]
    identity = keys or [pl.Series("row", range(1, len(frame) + 1), dtype=pl.Int64)]
    predicted = pl.Series("predicted", [schema.classes[code] for code in proba.argmax(axis=1)])
    shares = [pl.Series(f"probability {label}", proba[:, code]) for code, label in enumerate(schema.classes)]
    taken = [key.name for key in keys if key.name in (predicted.name, *(share.name for share in shares))]
    if taken:
        raise TabcohortError(f"the key {taken[0]!r} is called like a column of the answers; rename it in the table")
    answers = pl.DataFrame([*identity, predicted, *shares])
    if options.json:
        _print_json({"predictions": answers.to_dicts()})
    if options.out:
        _write_frame(answers, options.out)
        print(f"{len(answers):,} predictions in {options.out}", file=sys.stderr)
    elif not options.json:
        sys.stdout.write(answers.write_csv())
    return 0


def _warn_of_strange_cell(cell: tuple[int, str, float] | None, frame: Any) -> None:
    if cell and cell[2] > FAR:
        row, name, distance = cell
        warnings.warn(
            f"row {row + 1}, column {name!r} holds {frame[name][row]}, {distance:,.0f} standard deviations from the "
            "training rows' mean (a wrong unit?); the answer means little",
            TabcohortWarning,
            stacklevel=1,
        )


def _plain_column(column: Any) -> Any:
    """Return a key column as numbers or text that JSON can hold."""
    import polars as pl

    if column.dtype.is_float():
        return column.fill_nan(None)
    return column if column.dtype.is_integer() or column.dtype == pl.Boolean else column.cast(pl.String)


def _evaluate(options: argparse.Namespace) -> int:
    from tabcohort.artifact import evaluation_to_dict, load
    from tabcohort.report import print_evaluation
    from tabcohort.table import table_of_schema

    predictor = load(options.model)
    schema = predictor.schema
    table = table_of_schema(_open(options.table).frame, schema)
    if predictor.was_trained_on(table):
        warnings.warn(
            "this is the table that the model was trained on: these figures flatter it; those of `info` are honest",
            TabcohortWarning,
            stacklevel=1,
        )
    evaluation = evaluation_to_dict(predictor.evaluate(table))
    if options.json:
        _print_json(evaluation)
    else:
        out, _ = _consoles()
        print_evaluation(out, evaluation, dataclasses.asdict(schema), f"rows of {options.table}")
    return 0


def _info(options: argparse.Namespace) -> int:
    from tabcohort.container import read_container
    from tabcohort.report import print_model

    _, document = read_container(options.model, "model")
    if options.json:
        _print_json(document)
    else:
        try:
            print_model(_consoles()[0], document)
        except (LookupError, TypeError, ValueError) as error:
            raise ModelFileError(f"{options.model!r} is not a valid model file: {error!r}") from None
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from tabcohort.reproduce import run

    if options.seeds is not None and options.seeds < 1:
        raise SettingsError(f"--seeds must be at least 1; it is {options.seeds}")
    out, messages = _consoles()
    findings = run(options.name, options.seeds, messages)
    if options.json:
        _print_json(findings.to_dict())
    else:
        findings.print(out)
    return 0


def _open(table: str) -> Sample:
    """Return the frame of a path or sample, with the target and positive class where they are known."""
    from tabcohort.files import Sample, load_sample, read_frame

    if table.startswith("sample:"):
        return load_sample(table.removeprefix("sample:"))
    return Sample(read_frame(table), target="", positive=None)


def _table(sample: Sample, options: argparse.Namespace, positive: Any) -> Table:
    from tabcohort.table import table_from_frame

    target = options.target or sample.target
    if not target:
        raise SettingsError(
            f"name the column to predict: --target COLUMN (one of {', '.join(sample.frame.columns[:20])})"
        )
    positive = sample.positive if positive is None and target == sample.target else positive
    table = table_from_frame(sample.frame, target, positive=positive, keys=options.key, drop=options.drop)
    if positive is None and table.schema.positive is not None:
        name = table.schema.classes[table.schema.positive]
        print(f"positive class: {name} (the last in sorted order; name another with --positive)", file=sys.stderr)
    return table


def _check_outputs(paths: Sequence[str | None], inputs: Sequence[str | None]) -> None:
    """Raise before any work is done if a file could not be written at its end, or would overwrite what is read."""
    read = {Path(path).resolve() for path in filter(None, inputs)}
    for path in filter(None, paths):
        if Path(path).resolve() in read:
            raise SettingsError(f"{path!r} is what this command reads; write to another file")
        if not Path(path).resolve().parent.is_dir():
            raise SettingsError(f"there is no folder {str(Path(path).parent)!r} to write to; make it first")
        if Path(path).is_dir():
            raise SettingsError(f"{path!r} is a folder; name a file")


def _write_frame(frame: Any, path: str) -> None:
    import polars as pl

    from tabcohort.container import replace_file

    try:
        replace_file(path, frame.write_parquet if path.lower().endswith(".parquet") else frame.write_csv)
    except pl.exceptions.PolarsError as error:
        raise TabcohortError(f"{path!r} cannot be written: {error}") from None


def _print_json(document: Any) -> None:
    print(json.dumps(document, allow_nan=False, indent=1))


def _consoles() -> tuple[Any, Any]:
    """Return the consoles of standard output, for results, and of standard error, for messages."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False, soft_wrap=True)


def _show_warning(message: Warning | str, category: type[Warning], *place: Any) -> None:
    name = "note" if issubclass(category, TabcohortWarning) else category.__name__
    print(f"{name}: {message}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
