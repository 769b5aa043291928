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
    from tabcohort.data.sources import Sample
    from tabcohort.data.table import Schema, Table
    from tabcohort.model.predictor import Predictor
    from tabcohort.settings import CohortSettings, Settings
    from tabcohort.types import FloatArray, IntArray

USER_ERROR, INTERRUPTED = 2, 130
FAR = 20.0  # standard deviations
SET_SEPARATOR = "|"
HOW_TO_AIM = (
    "0.3, balanced_accuracy, f1, 'sensitivity>=0.95', 'cost=10:1' (a missed positive : a false alarm), or none (the "
    "most probable class)"
)


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


class _Once(argparse.Action):
    """Keeps an option's value, and refuses a second one, which would win without a word."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option: str | None = None) -> None:
        """Keep the value.

        Raises:
            argparse.ArgumentError: the option was there already.
        """
        given = namespace.__dict__.setdefault("given", set())
        if option and self.dest in given:
            raise argparse.ArgumentError(self, "it may be given once only")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    """An argument parser that says what is wrong in one line, and takes each option once."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.register("action", None, _Once)
        self.register("action", "store", _Once)

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

    fit = _command(
        commands, "fit", _fit, "train a classifier on a table and judge each row by networks that never saw it"
    )
    _table_options(fit, table)
    _cohort_options(fit)
    fit.add_argument("--settings", metavar="FILE.toml", help="all other settings; the README lists them")
    fit.add_argument("--curves", metavar="FILE.png", help="draw losses and metric per epoch")
    fit.add_argument("--checkpoint", metavar="FOLDER", help="write the position to this folder, and go on from it")

    tune = _command(commands, "tune", _tune, "try many settings side by side, and keep those that are best together")
    _table_options(tune, table)
    _cohort_options(tune)
    tried = tune.add_mutually_exclusive_group()
    tried.add_argument("--grid", metavar="FILE.toml", help="lists of values; every combination is tried")
    tried.add_argument("--settings", type=int, metavar="N", help="so many, drawn at random (default: 24)")
    tune.add_argument("--base", metavar="FILE.toml", help="settings that all have in common, and that are not drawn")
    tune.add_argument("--no-halving", action="store_true", help="train all to the end, also those that are far behind")

    predict = _command(commands, "predict", _predict, "answer for the rows of a table")
    predict.add_argument("model", metavar="MODEL", help="a file that fit wrote")
    predict.add_argument("table", metavar="TABLE", help=table)
    predict.add_argument("--out", metavar="FILE", help="write CSV (or .parquet) here instead of standard output")
    _decision_options(predict)

    evaluate = _command(commands, "evaluate", _evaluate, "measure a model on a table that has the target")
    evaluate.add_argument("model", metavar="MODEL", help="a file that fit wrote")
    evaluate.add_argument("table", metavar="TABLE", help=table)

    info = _command(commands, "info", _info, "show what a model file holds")
    info.add_argument("model", metavar="MODEL", help="a file that fit wrote")

    decide = _command(commands, "decide", _decide, "choose another threshold or coverage for a model, without training")
    decide.add_argument("model", metavar="MODEL", help="a file that fit wrote")
    _decision_options(decide)
    decide.add_argument("--out", metavar="MODEL", help="write the changed model here (default: only show it)")

    reproduce = _command(commands, "reproduce", _reproduce, "run a reference document's experiment beside its claims")
    reproduce.add_argument("name", metavar="NAME", choices=EXPERIMENTS, help=", ".join(EXPERIMENTS))
    reproduce.add_argument("--seeds", type=int, metavar="N", help="how many seeds (default: as the experiment says)")
    reproduce.add_argument("--grid", action="store_true", help="patent: the original's tuning, 54 settings x 3 folds")
    reproduce.add_argument("--no-halving", action="store_true", help="of --grid: train all settings to the end")
    return parser


def _table_options(command: argparse.ArgumentParser, table: str) -> None:
    """Add what says which table, which columns, and where the model goes."""
    command.add_argument("table", metavar="TABLE", help=table)
    command.add_argument("--target", metavar="COLUMN", help="the column to predict (a sample knows its own)")
    command.add_argument(
        "--positive", metavar="LABEL", help="the positive class of two (else the last in sorted order)"
    )
    for name, meaning in (
        ("--key", "identifies a row, never predicts; rows of one key stay together; may repeat"),
        ("--group", "rows of one group are never both learned from and judged on; never predicts; may repeat"),
        ("--drop", "leave this column out; may repeat"),
    ):
        command.add_argument(name, metavar="COLUMN", action="append", default=[], help=meaning)
    command.add_argument("--time", metavar="COLUMN", help="judge networks on rows later than those they train on")
    command.add_argument("--out", metavar="MODEL", help="write the model to this file (MODEL.tabcohort)")


def _cohort_options(command: argparse.ArgumentParser) -> None:
    """Add what says how the networks are, and how many."""
    command.add_argument("--model", choices=("logistic", "mlp", "residual"))
    command.add_argument("--seed", type=int, metavar="N")
    command.add_argument(
        "--folds", type=int, metavar="K", help="parts of the rows, each judged by others (1: no folds)"
    )
    often = command.add_mutually_exclusive_group()
    often.add_argument("--seeds", type=int, metavar="N", help="how often all folds are trained")
    often.add_argument("--members", type=int, metavar="N", help="networks of each settings, folds x seeds")
    command.add_argument("--budget", type=float, metavar="SECONDS", help="end with the best so far after so long")
    command.add_argument("--threads", type=int, metavar="N", help="networks side by side (default: one per core)")
    _decision_options(command)
    command.add_argument("--engine", choices=("auto", "torch", "compiled"))
    command.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"))


def _decision_options(command: argparse.ArgumentParser) -> None:
    """Add what says how probabilities become answers."""
    command.add_argument("--threshold", metavar="AIM", help="for the positive class: " + HOW_TO_AIM)
    command.add_argument("--coverage", type=float, metavar="SHARE", help="of each class whose set holds it (0.9)")


def _command(commands: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
    parser.add_argument("--json", action="store_true", help="print one JSON document, and nothing else")
    parser.set_defaults(run=run)
    return parser


def _fit(options: argparse.Namespace) -> int:
    if options.curves and Path(options.curves).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise SettingsError(f"{options.curves!r} must end in .png, .svg or .pdf")
    _check_outputs((options.out, options.curves), inputs=(options.table, options.settings, options.checkpoint))
    settings = _settings(options, options.settings)
    return _train(options, settings, [settings], _cohort_settings(options))


def _tune(options: argparse.Namespace) -> int:
    from tabcohort.cohort.search import grid_from_toml, random_settings
    from tabcohort.settings import read_toml

    _check_outputs((options.out,), inputs=(options.table, options.base, options.grid))
    base = _settings(options, options.base)
    if options.grid:
        tried = grid_from_toml(options.grid, base)
    else:
        given = set(read_toml(options.base, "settings file")) if options.base else set()
        fixed = given | {"model"} if options.model else given
        tried = random_settings(24 if options.settings is None else options.settings, base, fixed)
    options.curves = options.checkpoint = None
    return _train(options, base, tried, _cohort_settings(options, halving=not options.no_halving))


def _settings(options: argparse.Namespace, file: str | None) -> Settings:
    from tabcohort.settings import Settings

    overrides = {name: getattr(options, name) for name in ("model", "seed", "engine", "device", "positive")}
    given = {name: value for name, value in overrides.items() if value is not None}
    return Settings.from_toml(file, **given) if file else Settings(**given)


def _cohort_settings(options: argparse.Namespace, halving: bool = True) -> CohortSettings:
    from tabcohort.settings import CohortSettings

    given = {
        "folds": options.folds,
        "seeds": options.seeds,
        "budget_seconds": options.budget,
        "coverage": options.coverage,
        "threshold": options.threshold,
        "threads": options.threads,
    }
    cohort = CohortSettings(halving=halving, **{name: value for name, value in given.items() if value is not None})
    if options.members is None:
        return cohort
    cohort = cohort.with_members(options.members)
    n_members = (cohort.folds or 1) * (cohort.seeds or 1)
    if n_members != options.members:
        words = f"{cohort.folds} folds x {cohort.seeds} seeds: {n_members} networks of each settings"
        warnings.warn(words, TabcohortWarning, stacklevel=1)
    return cohort


def _train(options: argparse.Namespace, settings: Settings, tried: Sequence[Settings], cohort: CohortSettings) -> int:
    """Train on the table that the options name, write and print what they ask for."""
    from tabcohort.reporting.terminal import RunShown, print_model

    out, messages = _consoles()
    messages.print(f"reading {options.table}", markup=False)
    table = _table(_open(options.table), options, settings.positive)
    messages.print(f"{len(table.y):,} rows, {table.X.shape[1]} columns that predict")

    from tabcohort.cohort.fit import fit
    from tabcohort.model.file import describe, save

    with RunShown(messages) as shown:
        predictor = fit(table, tried, cohort, shown, options.checkpoint)
    document = describe(predictor)
    if options.out and predictor.report.reason == "interrupted" and Path(options.out).exists():
        path = Path(options.out)
        options.out = str(path.with_name(f"{path.stem}.interrupted{path.suffix}"))
        print(f"{path} is left as it was; what was interrupted is in {options.out}", file=sys.stderr)
    if options.out:
        save(predictor, options.out)
    if options.curves:
        from tabcohort.reporting.curves import draw_curves

        members = [each for each in predictor.report.members if each.history]
        draw_curves(
            [each.history for each in members], [each.best_epoch for each in members], settings.monitor, options.curves
        )
    if options.json:
        _print_json(document)
    else:
        print_model(out, document)
        out.print(_what_next(options), markup=False)
    return INTERRUPTED if predictor.report.reason == "interrupted" else 0


def _what_next(options: argparse.Namespace) -> str:
    curves = f"\ncurves   {options.curves}" if options.curves else ""
    if not options.out:
        return f"{curves}\nnot kept: add --out MODEL.tabcohort to keep this model and predict with it"
    table = options.table if options.table.startswith("sample:") else "NEW_TABLE"
    on_path = shutil.which("tabcohort") or Path(sys.argv[0]).name != "tabcohort"
    command = "tabcohort" if on_path else os.path.relpath(sys.argv[0])
    return f"{curves}\nmodel    {options.out}\nnext     {command} predict {options.out} {table}"


def _predict(options: argparse.Namespace) -> int:
    from tabcohort.model.file import load

    _check_outputs((options.out,), inputs=(options.model, options.table))
    if options.out and Path(options.out).suffix.lower() not in (".csv", ".parquet"):
        raise SettingsError(f"{options.out!r} must end in .csv or .parquet")
    predictor = load(options.model)
    frame = _open(options.table).frame
    schema = predictor.schema
    known = {*schema.features, *schema.keys, *schema.groups, schema.target}
    extra = [name for name in frame.columns if name not in known]
    if extra:
        print(f"ignored, as the model was trained without them: {', '.join(extra[:10])}", file=sys.stderr)
    import numpy as np
    import polars as pl

    from tabcohort.data.columns import feature_matrix

    X = feature_matrix(frame, schema.features)
    if options.threshold is not None or options.coverage is not None:
        predictor = _decided(predictor, options)
    log_proba, spread = predictor.answers(X)
    codes, in_set = predictor.codes(log_proba), predictor.sets(log_proba)
    _warn_of_strange_cells(*predictor.farthest_cells(X), frame.select(schema.features))
    keys = [_plain_column(frame[name]) for name in schema.keys if name in frame.columns]
    identity = keys or [pl.Series("row", range(1, len(frame) + 1), dtype=pl.Int64)]
    made = [
        pl.Series("predicted", [schema.classes[code] for code in codes]),
        *(
            pl.Series(f"probability {label}", share)
            for label, share in zip(schema.classes, np.exp(log_proba).T, strict=True)
        ),
        pl.Series("spread", spread[np.arange(len(X)), codes]),
        pl.Series("set", [SET_SEPARATOR.join(_labels(schema, row)) for row in in_set], dtype=pl.String),
    ]
    taken = [key.name for key in keys if key.name in [each.name for each in made]]
    if taken:
        raise TabcohortError(f"the key {taken[0]!r} is called like a column of the answers; rename it in the table")
    answers = pl.DataFrame([*identity, *made])
    if options.json:
        sets = [{"set": _labels(schema, row)} for row in in_set]
        _print_json({"predictions": [each | of_row for each, of_row in zip(answers.to_dicts(), sets, strict=True)]})
    if options.out:
        _write_frame(answers, options.out)
        print(f"{len(answers):,} predictions in {options.out}", file=sys.stderr)
    elif not options.json:
        sys.stdout.write(answers.write_csv())
    return 0


def _labels(schema: Schema, in_set: Any) -> list[str]:
    return [str(label) for label, is_in in zip(schema.classes, in_set, strict=True) if is_in]


def _decided(predictor: Predictor, options: argparse.Namespace) -> Predictor:
    """Return the model with the threshold and coverage that the options name, and its own where they name none."""
    aim = predictor.decision.aim if options.threshold is None else options.threshold
    if aim == "none":
        aim = None
    return predictor.decided(aim, options.coverage)


def _decide(options: argparse.Namespace) -> int:
    from tabcohort.model.file import describe, load, save
    from tabcohort.reporting.terminal import print_model

    _check_outputs((options.out,), inputs=())
    if options.threshold is None and options.coverage is None:
        raise SettingsError("say what to change: --threshold AIM, --coverage SHARE, or both")
    predictor = load(options.model)
    changed = _decided(predictor, options)
    document = describe(changed)
    if options.out:
        save(changed, options.out)
    if options.json:
        _print_json(document)
    else:
        print_model(_consoles()[0], document)
        print(
            f"\nmodel    {options.out}" if options.out else "\nnot kept: add --out MODEL.tabcohort to keep this change"
        )
    return 0


def _warn_of_strange_cells(column: IntArray, distance: FloatArray, frame: Any) -> None:
    """Warn of the row that is farthest from all that trained, and say how many others are far, too."""
    rows = (distance > FAR).nonzero()[0]
    if len(rows):
        row = rows[distance[rows].argmax()]
        cells = frame[:, int(column[row])]
        n_others = len(rows) - 1
        others = f" and for {n_others:,} other row{'s' * (n_others > 1)} far from it" if n_others else ""
        warnings.warn(
            f"row {row + 1}, column {cells.name!r} holds {cells[int(row)]}, {distance[row]:,.0f} standard deviations "
            f"from the training rows' mean (a wrong unit?); the answer for it{others} means little",
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
    from tabcohort.data.frames import table_of_schema
    from tabcohort.model.file import evaluation_to_dict, load, sets_to_dict
    from tabcohort.reporting.terminal import print_evaluation, print_sets

    predictor = load(options.model)
    schema = predictor.schema
    frame = _open(options.table).frame
    missing = [name for name in (*schema.keys, *schema.groups) if name not in frame.columns]
    if missing and predictor.report.evaluation.n_families < predictor.report.evaluation.n_rows:
        warnings.warn(
            f"the table has no {', '.join(map(repr, missing))}, which tied rows that may be alike where the model was "
            "trained: without it, the intervals take rows for independent",
            TabcohortWarning,
            stacklevel=1,
        )
    table = table_of_schema(frame, schema)
    if predictor.was_trained_on(table):
        warnings.warn(
            "this is the table that the model was trained on: these figures flatter it; those of `info` are honest",
            TabcohortWarning,
            stacklevel=1,
        )
    log_proba = predictor.log_proba(table.X)
    evaluation = evaluation_to_dict(predictor.evaluate(table, log_proba))
    sets = sets_to_dict(predictor.evaluate_sets(table, log_proba))
    if options.json:
        _print_json({"classes": schema.classes, **evaluation, "sets": sets})
    else:
        out, _ = _consoles()
        print_evaluation(out, evaluation, dataclasses.asdict(schema), f"rows of {options.table}")
        out.print()
        print_sets(out, sets, schema.classes, predictor.decision.coverage)
    return 0


def _info(options: argparse.Namespace) -> int:
    from tabcohort.container import read_container
    from tabcohort.reporting.terminal import print_model

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
    from tabcohort.reproduce import run, run_grid

    if options.seeds is not None and options.seeds < 1:
        raise SettingsError(f"--seeds must be at least 1; it is {options.seeds}")
    out, messages = _consoles()
    if options.grid and options.name != "patent":
        raise SettingsError(f"--grid is the tuning of 'patent'; {options.name!r} has none")
    if options.grid and options.seeds is not None:
        raise SettingsError("--grid trains each of its folds once; leave out --seeds")
    if options.grid:
        findings = run_grid(messages, halving=not options.no_halving)
    else:
        findings = run(options.name, options.seeds, messages)
    if options.json:
        _print_json(findings.to_dict())
    else:
        findings.print(out)
    return 0


def _open(table: str) -> Sample:
    """Return the frame of a path or sample, with the target and positive class where they are known."""
    from tabcohort.data.sources import Sample, load_sample, read_frame

    if table.startswith("sample:"):
        return load_sample(table.removeprefix("sample:"))
    return Sample(read_frame(table), target="", positive=None)


def _table(sample: Sample, options: argparse.Namespace, positive: Any) -> Table:
    from tabcohort.data.frames import table_from_frame

    target = options.target or sample.target
    if not target:
        raise SettingsError(
            f"name the column to predict: --target COLUMN (one of {', '.join(sample.frame.columns[:20])})"
        )
    positive = sample.positive if positive is None and target == sample.target else positive
    table = table_from_frame(
        sample.frame,
        target,
        positive=positive,
        keys=options.key,
        groups=options.group,
        time=options.time,
        drop=options.drop,
    )
    if positive is None and table.schema.positive is not None:
        name = table.schema.classes[table.schema.positive]
        print(f"positive class: {name} (the last in sorted order; name another with --positive)", file=sys.stderr)
    return table


def _check_outputs(paths: Sequence[str | None], inputs: Sequence[str | None]) -> None:
    """Raise before any work is done if a file could not be written at its end, or would overwrite what is read."""
    read = {Path(path).resolve() for path in filter(None, inputs)}
    written = [Path(path).resolve() for path in filter(None, paths)]
    if len(set(written)) < len(written):
        raise SettingsError(f"{paths[0]!r} is named twice, and one would overwrite the other; name different files")
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
