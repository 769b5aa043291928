"""What the commands about a table, and `reproduce`, do: from options to objects, one call of the library, and output.

What a command needs is imported when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabcohort.cli import big_tables, files
from tabcohort.cli.model_commands import facts_of_report, write_reports, written_reports
from tabcohort.cli.output import consoles, print_json, print_lines, without_histories
from tabcohort.cli.source_options import (
    column_choices,
    column_types,
    open_table,
    settings_file,
    shown_name,
    warn_of_unused,
)
from tabcohort.cli.watch_command import LiveView, keep_up, live_page, watching
from tabcohort.engines.ranks import launched
from tabcohort.errors import ModelFileError, SettingsError, TabcohortWarning, listed

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from tabcohort.cohort.executors import Executor
    from tabcohort.data.frames import ColumnChoices
    from tabcohort.data.table import Schema, Table
    from tabcohort.model.predictor import Predictor
    from tabcohort.settings import CohortSettings, Config

INTERRUPTED = 130  # exit status
N_RANDOM_CONFIGS = 24
MANY_CLASSES = 20  # above this, `fit` suggests `predict --top`
MAX_FINDINGS = 10  # of the leak audit, in lines
CURVE_FORMATS = (".png", ".svg", ".pdf")


def fit(options: argparse.Namespace) -> int:
    """Train a cohort of a preset's configs, or of the one that the options describe."""
    from tabcohort.cohort.presets import RUN_SETTINGS, preset_cohort

    if options.curves and Path(options.curves).suffix.lower() not in CURVE_FORMATS:
        raise SettingsError(f"{options.curves!r} must end in .png, .svg or .pdf")
    options.card = files.card_path(options.card, options.report or options.out or files.default_model(options.table))
    outputs = (options.out, options.curves, options.report, options.card, options.record)
    files.check_outputs(outputs, inputs=(options.table, options.settings, options.checkpoint))
    config, settings = _config(options), _cohort_settings(options)
    if options.model is None and not settings_file(options)[0].keys() - RUN_SETTINGS:
        return _train(options, config.positive, lambda table: preset_cohort(table, config, settings))
    if options.preset or options.kinds:
        given = f"--preset {options.preset}" if options.preset else _option_of_kinds(options)
        raise SettingsError(f"{given} chooses what is trained: leave it out, or --model and the settings of a config")
    warn_of_unused(options, [config])
    return _train(options, config.positive, lambda table: ([config], settings))


def tune(options: argparse.Namespace) -> int:
    """Train a cohort of many configs."""
    from tabcohort.cohort.presets import RUN_SETTINGS, configs_for
    from tabcohort.cohort.search import grid_from_toml, random_configs

    read = (options.table, options.settings, options.grid, options.checkpoint)
    files.check_outputs((options.out, options.record), inputs=read)
    base, settings = _config(options), _cohort_settings(options, halving=not options.no_halving)
    fixed = {*settings_file(options)[0], *(["model"] if options.model else [])}
    n_configs = N_RANDOM_CONFIGS if options.configs is None else options.configs
    configs = grid_from_toml(options.grid, base) if options.grid else random_configs(n_configs, base, fixed)
    warn_of_unused(options, configs)
    is_open = not options.grid and not fixed - RUN_SETTINGS  # nothing is said of the model: begin with what `fit` tries
    options.curves = options.report = options.card = None
    options.learning_curve = False

    def choose(table: Table) -> tuple[list[Config], CohortSettings]:
        first = configs_for(table, "default", base) if is_open else configs[:1]
        return [*first, *configs[1:]][: len(configs)], settings

    return _train(options, base.positive, choose)


def _option_of_kinds(options: argparse.Namespace) -> str:
    """Return the option that was given for a kind of candidates."""
    return {"networks": "--nets-only", "linear": "--linear-only"}[options.kinds]


def _train(
    options: argparse.Namespace, positive: Any, choose: Callable[[Table], tuple[list[Config], CohortSettings]]
) -> int:
    """Train on the table that the options name, write and print what they ask for.

    Args:
        options: of the command line.
        positive: label of the positive class, if it is named.
        choose: returns the configs and the settings of the cohort, given the table.
    """
    if options.out is None:
        files.check_default_model(options.table)
    if options.record:
        from tabcohort.live.recording import check_recordable

        check_recordable(options.record)
    _, messages = consoles(options.quiet)
    executor = _executor(options, messages)
    with live_page(options, messages) as live:
        status = _train_and_print(options, positive, choose, _Run(executor, live))
        if status == 0:
            keep_up(live, messages)
        return status


@dataclass(frozen=True)
class _Run:
    """Where members run, threads of this process if it is None, and the page that shows them, if there is one."""

    executor: Executor | None
    live: LiveView | None


def _executor(options: argparse.Namespace, messages: Console) -> Executor | None:
    """Return the executor of the option `--cluster`, which is connected; None without that option."""
    if options.cluster is None:
        return None
    from tabcohort.cluster.connection import what_connecting_does
    from tabcohort.cluster.ray_executor import RayExecutor

    if options.threads is not None and options.cluster != "local":
        raise SettingsError("--threads is of this machine, and so of --cluster local; leave it out")
    print_lines(messages, f"cluster  {what_connecting_does(options.cluster)}")
    executor = RayExecutor(options.cluster, options.threads)
    print_lines(messages, f"cluster  {executor.n_workers} cores")
    return executor


def _train_and_print(
    options: argparse.Namespace,
    positive: Any,
    choose: Callable[[Table], tuple[list[Config], CohortSettings]],
    where: _Run,
) -> int:
    """Do what `_train` says, when it is clear where everything goes."""
    from tabcohort.reporting.learning_curve_text import print_learning_curve
    from tabcohort.reporting.terminal import print_model, print_shuffled

    out, messages = consoles(options.quiet)
    print_lines(messages, f"reading {shown_name(options.table)}")
    rows = big_tables.rows_to_train_on(options)
    frame, table = (None, _streamed_table(options, positive)) if rows else _table(options, positive)
    print_lines(messages, f"{len(table.y):,} rows, {len(table.schema.columns):,} features")
    configs, settings = choose(table)
    if options.learning_curve:
        _check_learning_curve(table, configs, settings)

    from tabcohort.cohort.fit import fit
    from tabcohort.cohort.shuffled import shuffled_facts
    from tabcohort.model.file import describe

    with watching(options, where.live, messages) as how:
        predictor = fit(table, configs, settings, how.callback, options.checkpoint, where.executor, how.observer)
    if launched()[0] > 0:  # the first of several processes goes on
        return 0
    is_interrupted = predictor.report.stop_reason == "interrupted"
    path = _model_path(options, is_interrupted)
    files.save_or_rescue(predictor, path)
    has_curve = options.learning_curve and not is_interrupted
    curve = _learning_curve(predictor, table, configs, settings, options) if has_curve else None
    is_interrupted |= options.learning_curve and (curve is None or not curve["is_complete"])
    if curve is not None:
        predictor = predictor.with_learning_curve(curve)
        files.save_or_rescue(predictor, path)
    with _saying_where_the_model_is(path):
        if options.curves:
            from tabcohort.reporting.curves import draw_curves

            draw_curves(predictor.report, configs[0].monitor, options.curves)
        if options.report or options.card:
            facts = facts_of_report(predictor, frame, options)
            write_reports(facts, path, options.report, options.card)
    document = describe(predictor)
    has_audit = options.audit and not is_interrupted
    if options.json:
        print_lines(messages, f"model    {path}")
        shuffled = {"shuffled": shuffled_facts(table, configs, settings)} if has_audit else {}
        more_rows = {} if curve is None else {"learning_curve": curve}
        print_json({**without_histories(document, options.history), **more_rows, **shuffled})
    else:
        print_model(out, document)
        if curve is not None:
            print_learning_curve(out, curve)
        print_lines(out, "", *_next_steps(options, path, len(predictor.schema.classes)))
        if has_audit:
            print_shuffled(out, shuffled_facts(table, configs, settings))
    return INTERRUPTED if is_interrupted else 0


def _check_learning_curve(table: Table, configs: list[Config], settings: CohortSettings) -> None:
    """Raise before any training if there can be no learning curve."""
    from tabcohort.cohort.learning_curve import shares_to_train
    from tabcohort.cohort.plan import make_plan

    with warnings.catch_warnings():  # `fit` says the same
        warnings.simplefilter("ignore", TabcohortWarning)
        shares_to_train(make_plan(table, configs, settings))


def _learning_curve(
    predictor: Predictor, table: Table, configs: list[Config], settings: CohortSettings, options: argparse.Namespace
) -> dict[str, Any] | None:
    """Return the facts of the learning curve; None, with a note, where Ctrl-C came too early."""
    from tabcohort.cohort.learning_curve import learning_curve, learning_curve_facts
    from tabcohort.reporting.progress_displays import ProgressDisplay, ProgressLog

    _, messages = consoles(options.quiet)
    print_lines(messages, "learning curve: training on shares of the rows")
    try:
        with ProgressLog(messages) if options.verbose else ProgressDisplay(messages) as progress:
            curve = learning_curve(table, configs, settings, progress, predictor.out_of_fold)
    except KeyboardInterrupt:
        print_lines(messages, "interrupted before enough shares were done: there is no learning curve")
        return None
    return learning_curve_facts(curve)


def _model_path(options: argparse.Namespace, is_interrupted: bool) -> Path:
    """Return where the model goes; one that was interrupted overwrites no other."""
    if options.out is None:
        return files.default_model(options.table)
    path = Path(options.out)
    if not (is_interrupted and path.exists()):
        return path
    other = files.unused(path.with_name(f"{path.stem}.interrupted{path.suffix}"))
    _, messages = consoles()
    print_lines(messages, f"{path} is unchanged; the interrupted model is in {other}")
    return other


@contextmanager
def _saying_where_the_model_is(path: Path) -> Iterator[None]:
    """Add to the error of a file that cannot be written, or to Ctrl-C, that the model is in another one."""
    kept = f"the model was kept as {str(path)!r}"
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{error}; {kept}") from None
    except KeyboardInterrupt as interrupt:
        message = str(interrupt) or "interrupted before all files were written"
        raise KeyboardInterrupt(f"{message}; {kept}") from None


def look(options: argparse.Namespace) -> int:
    """Show what a table holds, and what would be done with each column."""
    from tabcohort.data.profile import columns_toml, look_facts
    from tabcohort.reporting.progress_displays import ReadingDisplay

    files.check_outputs((options.html, options.write), inputs=(options.table,))
    sample = open_table(options)
    with ReadingDisplay(consoles()[1]) as display:
        facts = look_facts(sample.frame, options.target or sample.target or None, column_choices(options), display)
    if options.html:
        from tabcohort.reporting.look_page import look_page

        files.write_text(options.html, look_page(facts, shown_name(options.table)))
    if options.write:
        files.write_text(options.write, columns_toml(facts, shown_name(options.table)))
    if options.json:
        print_json(facts)
    else:
        from tabcohort.reporting.look import print_look

        print_look(consoles()[0], facts)
        for path in filter(None, (options.html, options.write)):
            print(f"written  {path}", file=sys.stderr)
    return 0


def reproduce(options: argparse.Namespace) -> int:
    """Run a reference document's experiment."""
    from tabcohort.reproduce.experiments import run, run_grid, run_tables

    if options.seeds is not None and options.seeds < 1:
        raise SettingsError(f"--seeds must be at least 1; it is {options.seeds}")
    out, messages = consoles()
    if options.grid and options.name != "patent":
        raise SettingsError(f"--grid is the tuning of 'patent'; {options.name!r} has none")
    if options.grid and options.seeds is not None:
        raise SettingsError("--grid trains each of its folds once; leave out --seeds")
    if options.tables and (options.name != "patent" or options.grid):
        raise SettingsError("--tables is the result tables of 'patent', without --grid")
    if options.report:
        files.check_outputs([options.report], [])
    if options.grid:
        findings = run_grid(messages, halving=not options.no_halving)
    elif options.tables:
        findings = run_tables(options.seeds, messages)
    else:
        findings = run(options.name, options.seeds, messages)
    facts = findings.to_dict()
    if options.report:
        from tabcohort.reporting.experiment_page import experiment_page

        files.write_text(options.report, experiment_page(facts, _command_of(options)))
    if options.json:
        print_json(facts)
    else:
        findings.print(out)
        if options.report:
            print(f"written  {options.report}", file=sys.stderr)
    return INTERRUPTED if findings.is_interrupted else 0


def _command_of(options: argparse.Namespace) -> str:
    """Return the command that measures the same again."""
    parts = ["tabcohort", "reproduce", options.name]
    parts += ["--grid"] * options.grid + ["--no-halving"] * options.no_halving + ["--tables"] * options.tables
    return shlex.join(parts if options.seeds is None else [*parts, "--seeds", str(options.seeds)])


# -- from options to objects -----------------------------------------------------------------------------------------


def _config(options: argparse.Namespace) -> Config:
    from tabcohort.settings import Config

    overrides = {name: getattr(options, name) for name in ("model", "seed", "engine", "device", "positive")}
    given = {name: value for name, value in overrides.items() if value is not None}
    return Config.from_toml(options.settings, **given) if options.settings else Config(**given)


def _cohort_settings(options: argparse.Namespace, halving: bool = True) -> CohortSettings:
    from tabcohort.settings import CohortSettings

    names = {"budget_seconds": "budget"} | {
        name: name for name in ("preset", "kinds", "folds", "seeds", "coverage", "threshold", "threads")
    }
    given = {name: getattr(options, option, None) for name, option in names.items()}
    settings = CohortSettings(halving=halving, **{name: value for name, value in given.items() if value is not None})
    if options.members is None:
        return settings
    settings = settings.with_members(options.members)
    n_members = (settings.folds or 1) * (settings.seeds or 1)
    if n_members != options.members:
        message = f"{settings.folds} folds x {settings.seeds} seeds: {n_members} members per config"
        warnings.warn(message, TabcohortWarning, stacklevel=1)
    return settings


def _streamed_table(options: argparse.Namespace, positive: Any) -> Table:
    """Return the table that the options name, with its rows in a store."""
    big_tables.check_training(options)
    _, messages = consoles(options.quiet)
    choices = column_choices(options)

    def print_findings(sample: pl.DataFrame, schema: Schema) -> None:
        if not options.no_audit:
            _print_findings(messages, sample, schema, choices)

    table = big_tables.streamed_table(options, choices, positive, print_findings)
    _print_positive(messages, positive, table.schema)
    return table


def _print_positive(messages: Console, positive: Any, schema: Schema) -> None:
    if positive is None and schema.positive is not None:
        name = schema.classes[schema.positive]
        print_lines(messages, f"positive class: {name} (the last in sorted order; name another with --positive)")


def _table(options: argparse.Namespace, positive: Any) -> tuple[pl.DataFrame, Table]:
    """Return the frame and the table that the options name."""
    from tabcohort.data.table import Table

    sample = open_table(options)
    target = options.target or sample.target
    if not target:
        columns = listed(sample.frame.columns, 20)
        raise SettingsError(f"name the column to predict: --target COLUMN (one of {columns})")
    positive = sample.positive if positive is None and target == sample.target else positive
    table = Table.from_frame(
        sample.frame,
        target,
        positive=positive,
        keys=options.key,
        groups=options.group,
        time=options.time,
        weight=options.weight,
        types=column_types(options),
    )
    _, messages = consoles(options.quiet)
    _print_positive(messages, positive, table.schema)
    if not options.no_audit:
        _print_findings(messages, sample.frame, table.schema, column_choices(options))
    return sample.frame, table


# -- audit -----------------------------------------------------------------------------------------------------------


def _print_findings(messages: Console, frame: pl.DataFrame, schema: Schema, choices: ColumnChoices) -> None:
    """Print what the leak audit detects, each in one line; `Table.from_frame` has warned of the labels already."""
    from tabcohort.data.audit import audit
    from tabcohort.reporting.progress_displays import ReadingDisplay

    with ReadingDisplay(messages) as display:
        findings = audit(frame, schema.target, schema.columns, choices, display)
    findings = tuple(finding for finding in findings if finding.columns != (schema.target,))
    for finding in findings[:MAX_FINDINGS]:
        print_lines(messages, f"note: {finding}")
    if len(findings) > MAX_FINDINGS:
        print_lines(messages, f"note: {len(findings) - MAX_FINDINGS} more findings: see tabcohort look")


# -- output ----------------------------------------------------------------------------------------------------------


def _next_steps(options: argparse.Namespace, model: Path, n_classes: int) -> list[str]:
    """Return lines that say what was written, and a command to go on with."""
    table = options.table if options.table.startswith("sample:") else "NEW_TABLE"
    path = str(model) if options.out is None or model != Path(options.out) else options.out
    path = path if not path.startswith("-") else os.path.join(os.curdir, path)  # else it would be an option
    curves = [f"curves   {options.curves}"] if options.curves else []
    top = ["--top", "5"] if n_classes > MANY_CLASSES else []
    command = shlex.join([*_this_program(), "predict", path, table, *top])
    reports = written_reports(options.report, options.card)
    if not options.report:
        reports = [f"         {shlex.join([*_this_program(), 'report', path])}", *reports]
    return [*curves, f"model    {path}", f"next     {command}", *reports]


def _this_program() -> list[str]:
    """Return the words by which a shell in this folder runs this program again."""
    program = Path(sys.argv[0])
    if not shutil.which("tabcohort"):
        if program.name == "__main__.py" and "tabcohort" in program.parts[-3:-1]:
            return [sys.executable, "-m", "tabcohort"]
        if program.name == "tabcohort":
            path = os.path.relpath(program)
            return [path if os.path.dirname(path) else os.path.join(os.curdir, path)]
    return ["tabcohort"]
