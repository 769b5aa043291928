"""What each command does: from options to objects, one call of the library, and output.

What a command needs is imported when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabcohort.cli import explanations, files
from tabcohort.cli.output import consoles, print_json, print_lines
from tabcohort.errors import ModelFileError, SettingsError, TabcohortError, TabcohortWarning, listed

if TYPE_CHECKING:
    import polars as pl
    from rich.console import Console

    from tabcohort.data.frames import ColumnChoices
    from tabcohort.data.sources import Sample
    from tabcohort.data.table import Schema, Table
    from tabcohort.model.predictor import Predictor
    from tabcohort.settings import CohortSettings, Config

INTERRUPTED = 130  # exit status
CHANGED = 1  # exit status of `monitor`
N_RANDOM_CONFIGS = 24
MAX_FINDINGS = 10  # of the leak audit, in lines
CURVE_FORMATS = (".png", ".svg", ".pdf")


def fit(options: argparse.Namespace) -> int:
    """Train a cohort of a preset's configs, or of the one that the options describe."""
    from tabcohort.cohort.presets import RUN_SETTINGS, preset_cohort

    if options.curves and Path(options.curves).suffix.lower() not in CURVE_FORMATS:
        raise SettingsError(f"{options.curves!r} must end in .png, .svg or .pdf")
    outputs = (options.out, options.curves, options.report, options.card)
    files.check_outputs(outputs, inputs=(options.table, options.settings, options.checkpoint))
    config, settings = _config(options), _cohort_settings(options)
    if options.model is None and not _settings_file(options)[0].keys() - RUN_SETTINGS:
        return _train(options, config.positive, lambda table: preset_cohort(table, config, settings))
    if options.preset or options.kinds:
        given = f"--preset {options.preset}" if options.preset else _option_of_kinds(options)
        raise SettingsError(f"{given} chooses what is trained: leave it out, or --model and the settings of a config")
    return _train(options, config.positive, lambda table: ([config], settings))


def tune(options: argparse.Namespace) -> int:
    """Train a cohort of many configs."""
    from tabcohort.cohort.presets import RUN_SETTINGS, preset_configs
    from tabcohort.cohort.search import grid_from_toml, random_configs

    files.check_outputs((options.out,), inputs=(options.table, options.settings, options.grid))
    base, settings = _config(options), _cohort_settings(options, halving=not options.no_halving)
    fixed = {*_settings_file(options)[0], *(["model"] if options.model else [])}
    n_configs = N_RANDOM_CONFIGS if options.configs is None else options.configs
    configs = grid_from_toml(options.grid, base) if options.grid else random_configs(n_configs, base, fixed)
    is_open = not options.grid and not fixed - RUN_SETTINGS  # nothing is said of the model: begin with what `fit` tries
    options.curves = options.checkpoint = options.report = options.card = None
    options.learning_curve = False

    def choose(table: Table) -> tuple[list[Config], CohortSettings]:
        n_classes = len(table.schema.classes)
        first = preset_configs("default", base, n_rows=len(table.y), n_classes=n_classes) if is_open else configs[:1]
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
    from tabcohort.reporting.learning_curve_text import print_learning_curve
    from tabcohort.reporting.terminal import ProgressDisplay, ProgressLog, print_model, print_shuffled

    if options.out is None:
        files.check_default_model(options.table)
    out, messages = consoles(options.quiet)
    print_lines(messages, f"reading {_shown(options.table)}")
    frame, table = _table(options, positive)
    print_lines(messages, f"{len(table.y):,} rows, {len(table.schema.columns)} features")
    configs, settings = choose(table)
    if options.learning_curve:
        _check_learning_curve(table, configs, settings)

    from tabcohort.cohort.fit import fit
    from tabcohort.cohort.shuffled import shuffled_facts
    from tabcohort.model.file import describe

    with ProgressLog(messages) if options.verbose else ProgressDisplay(messages) as progress:
        predictor = fit(table, configs, settings, progress, options.checkpoint)
    is_interrupted = predictor.report.stop_reason == "interrupted"
    path = _model_path(options, is_interrupted)
    files.save_or_rescue(predictor, path)
    has_curve = options.learning_curve and not is_interrupted
    curve = _learning_curve(predictor, table, configs, settings, options) if has_curve else None
    is_interrupted |= options.learning_curve and (curve is None or not curve["is_complete"])
    with _saying_where_the_model_is(path):
        if options.curves:
            from tabcohort.reporting.curves import draw_curves

            draw_curves(predictor.report, configs[0].monitor, options.curves)
        if options.report or options.card:
            facts = {**_report_facts(predictor, frame, options), "learning_curve": curve}
            _write_reports(facts, path, options.report, options.card)
    document = describe(predictor)
    has_audit = options.audit and not is_interrupted
    if options.json:
        print_lines(messages, f"model    {path}")
        shuffled = {"shuffled": shuffled_facts(table, configs, settings)} if has_audit else {}
        learned = {} if curve is None else {"learning_curve": curve}
        print_json({**_without_histories(document, options), **learned, **shuffled})
    else:
        print_model(out, document)
        if curve is not None:
            print_learning_curve(out, curve)
        print_lines(out, "", *_next_steps(options, path))
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
    """Return the facts of the learning curve; None, with a note, where Ctrl-C came too early for one."""
    from tabcohort.cohort.learning_curve import learning_curve, learning_curve_facts
    from tabcohort.reporting.terminal import ProgressDisplay, ProgressLog

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
    """Add to the error of a file that cannot be written that the model is in another one."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{error}; the model was kept as {str(path)!r}") from None


def predict(options: argparse.Namespace) -> int:
    """Write predictions."""
    from tabcohort.model.file import load

    files.check_outputs((options.out,), inputs=(options.model, options.table, options.background))
    if options.out and Path(options.out).suffix.lower() not in (".csv", ".parquet"):
        raise SettingsError(f"{options.out!r} must end in .csv or .parquet")
    if options.explain is not None and options.explain < 1:
        raise SettingsError(f"--explain is a number of reasons, at least 1; it is {options.explain}")
    if options.background and options.explain is None:
        raise SettingsError("--background goes with --explain K")
    _, messages = consoles(options.quiet)
    predictor = load(options.model)
    if options.verbose:
        print_lines(messages, repr(predictor), f"reading {_shown(options.table)}")
    frame = _open(options).frame
    if options.threshold is not None or options.coverage is not None:
        predictor = _with_decision_rule(predictor, options)
    columns = _columns_to_write(options.columns, frame)
    reasons = None
    if options.explain is not None:
        background = _background(options)
        reasons = explanations.reasons_of_rows(predictor, frame, background, options.explain, messages)
    predictions = predictor.predict_frame(frame, columns, reasons)
    numbers = [*predictor.probability_columns, "spread"]
    if options.json:
        print_json({"predictions": files.json_rows(predictions)})
    if options.out:
        files.write_predictions(predictions, options.out, numbers)
        print_lines(messages, f"{len(predictions):,} predictions in {options.out}")
    elif not options.json:
        sys.stdout.write(files.csv_text(predictions, numbers, sys.stdout.isatty()))
    return 0


def _columns_to_write(names: str | None, frame: pl.DataFrame) -> list[str]:
    """Return the input columns that are written beside the predictions: all, none, or those with these names."""
    if names is None or names == "all":
        return frame.columns
    if names == "none":
        return []
    return [names] if names in frame.columns else names.split(",")


def explain(options: argparse.Namespace) -> int:
    """Show what each column contributes to the prediction for one row."""
    from tabcohort.model.explain import code_of, explanation_facts
    from tabcohort.model.file import load
    from tabcohort.reporting.explanation import ExplanationLog, print_explanation

    explanations.check_options(options)
    files.check_outputs((options.html,), inputs=(options.model, options.table, options.background))
    budget = explanations.budget_of(options)
    predictor = load(options.model)
    classes = predictor.schema.classes
    chosen = None if options.label is None else classes[code_of(options.label, classes)]
    together = explanations.groups_of(options.together, predictor.schema.features)
    frame = None if options.table is None else _open(options).frame
    background = _background(options)
    _, messages = consoles(options.quiet)
    explanation = predictor.explain(
        explanations.chosen_row(options, frame),
        frame if background is None else background,
        together=together,
        budget=budget,
        seed=options.seed,
        callback=ExplanationLog(messages),
    )
    facts = explanation_facts(explanation, predictor.class_to_explain(explanation) if chosen is None else chosen)
    which = "the record" if options.row is None else f"row {options.row:,} of {_shown(options.table)}"
    if options.html:
        from tabcohort.reporting.explanation_page import explanation_page

        files.write_text(options.html, explanation_page(facts, which, options.top))
    if options.json:
        print_json({**facts, "columns": facts["columns"][: options.top]})
    else:
        print_explanation(consoles()[0], facts, which, options.top)
        if options.html:
            print_lines(messages, f"written  {options.html}")
    return 0


def _background(options: argparse.Namespace) -> pl.DataFrame | None:
    """Return the rows of the option `--background`, None without it."""
    if options.background is None:
        return None
    return _open(argparse.Namespace(table=options.background, query=None, quiet=options.quiet)).frame


def evaluate(options: argparse.Namespace) -> int:
    """Measure a model on a table."""
    from tabcohort.data.table import Table
    from tabcohort.model.facts import evaluation_facts, set_facts
    from tabcohort.model.file import load
    from tabcohort.reporting.terminal import print_evaluation, print_sets

    predictor, frame = load(options.model), _open(options).frame
    schema = predictor.schema
    _warn_of_missing_groups(predictor, frame.columns)
    table = Table.for_schema(frame, schema)
    if predictor.was_trained_on(table):
        message = "the model was trained on this table: these figures flatter it; those of `info` are honest"
        warnings.warn(message, TabcohortWarning, stacklevel=1)
    predictor.warn_of_unusual_rows(frame)
    log_proba = predictor.log_proba_of(table)
    evaluation = evaluation_facts(predictor.evaluate(table, log_proba), schema.classes)
    coverage = predictor.decision_rule.coverage
    sets = set_facts(predictor.evaluate_sets(table, log_proba), coverage, schema.classes)
    if options.json:
        print_json({"classes": schema.classes, **evaluation, "sets": sets})
    else:
        out, _ = consoles()
        print_evaluation(out, evaluation, vars(schema), f" of {_shown(options.table)}")
        out.print()
        print_sets(out, sets)
    return 0


def compare(options: argparse.Namespace) -> int:
    """Compare models on the same rows."""
    from tabcohort.model.comparison import compare as compare_models
    from tabcohort.model.comparison import comparison_facts
    from tabcohort.model.file import load
    from tabcohort.reporting.comparison_text import print_comparison

    paths = [options.model, *options.others]
    if len(set(paths)) < len(paths):
        raise SettingsError("a model is named twice; name each file once")
    if options.query and options.table is None:
        raise SettingsError("--query says what to read from the database that --table names; name it too")
    predictors = {path: load(path) for path in paths}
    frame = None if options.table is None else _open(options).frame
    if frame is not None:
        _warn_of_missing_groups(predictors[options.model], frame.columns)
    facts = comparison_facts(compare_models(predictors, frame))
    if options.json:
        print_json(facts)
    else:
        which = f" of {_shown(options.table)}" if options.table else ", each predicted by members that never saw it"
        print_comparison(consoles()[0], facts, which)
    return 0


def monitor(options: argparse.Namespace) -> int:
    """Compare new rows with what a model knows; the exit status is 1 where something has changed."""
    from tabcohort.model.file import load
    from tabcohort.model.monitor import monitor as monitor_rows
    from tabcohort.reporting.monitor_text import print_monitor

    files.check_outputs((options.out,), inputs=(options.model, options.table, options.against))
    predictor, frame = load(options.model), _open(options).frame
    _warn_of_missing_groups(predictor, frame.columns)
    against = None
    if options.against is not None:
        against = _open(argparse.Namespace(table=options.against, query=None)).frame
    facts = monitor_rows(predictor, frame, against, options.ignore)
    if options.out:
        from tabcohort.reporting.monitor_page import monitor_page

        files.write_text(options.out, monitor_page(facts, _shown(options.table)))
    if options.json:
        print_json(facts)
    else:
        print_monitor(consoles()[0], facts, _shown(options.table))
        if options.out:
            print(f"written  {options.out}", file=sys.stderr)
    return CHANGED if facts["alarm"] else 0


def info(options: argparse.Namespace) -> int:
    """Show what a model file holds."""
    from tabcohort.container import read_container

    _, document = read_container(options.model, "model")
    try:
        if options.json:
            print_json(_without_histories(document, options))
        else:
            from tabcohort.reporting.terminal import print_model

            print_model(consoles()[0], document)
    except TabcohortError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{options.model!r} is not a valid model file: {error!r}") from None
    return 0


def look(options: argparse.Namespace) -> int:
    """Show what a table holds, and what would be done with each column."""
    from tabcohort.data.profile import columns_toml, look_facts

    files.check_outputs((options.html, options.write), inputs=(options.table,))
    sample = _open(options)
    facts = look_facts(sample.frame, options.target or sample.target or None, _choices(options))
    if options.html:
        from tabcohort.reporting.look_page import look_page

        files.write_text(options.html, look_page(facts, _shown(options.table)))
    if options.write:
        files.write_text(options.write, columns_toml(facts, _shown(options.table)))
    if options.json:
        print_json(facts)
    else:
        from tabcohort.reporting.look import print_look

        print_look(consoles()[0], facts)
        for path in filter(None, (options.html, options.write)):
            print(f"written  {path}", file=sys.stderr)
    return 0


def report(options: argparse.Namespace) -> int:
    """Write a page about a model, and print its facts."""
    from tabcohort.model.file import load

    files.check_outputs((options.out, options.card), inputs=(options.model, options.table))
    if options.table is None and (options.by or options.weight or options.query):
        raise SettingsError("--by, --weight and --query are about a table: name one with --table")
    predictor = load(options.model)
    frame = None if options.table is None else _open(options).frame
    facts = _report_facts(predictor, frame, options)
    if options.json:
        print_json(facts)
    page = options.out
    if not (page or options.json or options.card):
        page = str(files.default_report(options.model))
    _write_reports(facts, Path(options.model), page, options.card)
    _, messages = consoles()
    print_lines(messages, *_written_reports(page, options.card))
    return 0


def _report_facts(predictor: Predictor, frame: pl.DataFrame | None, options: argparse.Namespace) -> dict[str, Any]:
    """Return the facts of a report, with those of a table where there is one; say which rows are measured."""
    from tabcohort.model.report_facts import report_facts
    from tabcohort.model.report_table import ReportTable

    if frame is None:
        return report_facts(predictor)
    table = ReportTable.of(frame, predictor, options.weight)
    if not table.is_training_table:
        message = "the model was not trained on this table: the report measures it on the rows of this table"
        warnings.warn(message, TabcohortWarning, stacklevel=1)
    with consoles(getattr(options, "quiet", False))[1].status("measuring subgroups and what the model has learned"):
        return report_facts(predictor, table, getattr(options, "by", ()), _shown(options.table))


def _write_reports(facts: dict[str, Any], model: Path, page: str | None, card: str | None) -> None:
    """Write the page of a report and the model card, as far as files are named for them."""
    if page:
        from tabcohort.reporting.report_page import report_page

        files.write_text(page, report_page(facts, model.name))
    if card:
        from tabcohort.reporting.model_card import model_card

        files.write_text(card, model_card(facts, model.name))


def _written_reports(page: str | None, card: str | None) -> list[str]:
    """Return a line for each file that `_write_reports` writes."""
    return [f"{name:9}{path}" for name, path in (("report", page), ("card", card)) if path]


def export(options: argparse.Namespace) -> int:
    """Write a model as an ONNX graph, and print its inputs and outputs."""
    from tabcohort.container import replace_file
    from tabcohort.model.file import load
    from tabcohort.model.onnx_graph import graph_facts, to_onnx

    files.check_outputs((options.onnx,), inputs=(options.model,))
    model = to_onnx(load(options.model))
    replace_file(options.onnx, lambda file: file.write(model.SerializeToString()))
    facts = {"file": options.onnx, **graph_facts(model)}
    if options.json:
        print_json(facts)
        return 0
    out, _ = consoles()
    for name in ("inputs", "outputs"):
        for value in facts[name]:
            print_lines(out, f"{name[:-1]:8} {value['type']:8} {value['shape']:12} {value['name']}")
    print_lines(out, f"onnx     {options.onnx}")
    return 0


def decide(options: argparse.Namespace) -> int:
    """Change a model's decision rule."""
    from tabcohort.model.file import describe, load, save
    from tabcohort.reporting.terminal import print_decision_change

    files.check_outputs((options.out,), inputs=())
    if options.threshold is None and options.coverage is None:
        raise SettingsError("say what to change: --threshold OBJECTIVE, --coverage SHARE, or both")
    model = load(options.model)
    changed = _with_decision_rule(model, options)
    if options.out:
        save(changed, options.out)
    document = describe(changed)
    if options.json:
        print_json(_without_histories(document, options))
        return 0
    out, _ = consoles()
    print_decision_change(out, describe(model), document)
    kept = "not kept: add --out MODEL.tabcohort to keep this change"
    if options.out:
        kept = f"model    {options.out}; all of it: tabcohort info {options.out}"
    print_lines(out, "", kept)
    return 0


def reproduce(options: argparse.Namespace) -> int:
    """Run a reference document's experiment."""
    from tabcohort.reproduce.experiments import run, run_grid

    if options.seeds is not None and options.seeds < 1:
        raise SettingsError(f"--seeds must be at least 1; it is {options.seeds}")
    out, messages = consoles()
    if options.grid and options.name != "patent":
        raise SettingsError(f"--grid is the tuning of 'patent'; {options.name!r} has none")
    if options.grid and options.seeds is not None:
        raise SettingsError("--grid trains each of its folds once; leave out --seeds")
    if options.grid:
        findings = run_grid(messages, halving=not options.no_halving)
    else:
        findings = run(options.name, options.seeds, messages)
    if options.json:
        print_json(findings.to_dict())
    else:
        findings.print(out)
    return 0


# -- from options to objects -----------------------------------------------------------------------------------------


def _config(options: argparse.Namespace) -> Config:
    from tabcohort.settings import Config

    overrides = {name: getattr(options, name) for name in ("model", "seed", "engine", "device", "positive")}
    given = {name: value for name, value in overrides.items() if value is not None}
    return Config.from_toml(options.settings, **given) if options.settings else Config(**given)


def _settings_file(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the settings and the types of columns in the file that the options name, if any."""
    from tabcohort.settings import read_settings

    return read_settings(options.settings) if options.settings else ({}, {})


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


def _open(options: argparse.Namespace) -> Sample:
    """Return a table's frame, with the target and positive class where they are known; say what was detected."""
    from tabcohort.data.sources import Sample, load_sample, read_source

    if options.table.startswith("sample:"):
        if options.query:
            raise SettingsError("--query is for databases, and a sample is none; leave it out")
        return load_sample(options.table.removeprefix("sample:"))
    source = read_source(options.table, options.query)
    _, messages = consoles(getattr(options, "quiet", False))
    print_lines(messages, f"table    {source.description}")
    return Sample(source.frame, target="", positive=None)


def _shown(table: str) -> str:
    """Return the name of a table for messages, without a password."""
    from tabcohort.data.databases import shown

    return shown(table) if "://" in table else table


def _table(options: argparse.Namespace, positive: Any) -> tuple[pl.DataFrame, Table]:
    """Return the frame and the table that the options name."""
    from tabcohort.data.table import Table

    sample = _open(options)
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
        types=_types(options),
    )
    _, messages = consoles(options.quiet)
    if positive is None and table.schema.positive is not None:
        name = table.schema.classes[table.schema.positive]
        print_lines(messages, f"positive class: {name} (the last in sorted order; name another with --positive)")
    if not options.no_audit:
        _print_findings(messages, sample.frame, table.schema, _choices(options))
    return sample.frame, table


def _choices(options: argparse.Namespace) -> ColumnChoices:
    """Return what the options say of the columns."""
    from tabcohort.data.frames import ColumnChoices

    return ColumnChoices(tuple(options.key), tuple(options.group), options.time, options.weight, _types(options))


def _types(options: argparse.Namespace) -> dict[str, str]:
    """Return the types of columns that the options give, and those of the settings file for other columns."""
    types: dict[str, str] = {}
    for kind in ("category", "number", "date", "text", "drop"):
        for name in getattr(options, kind):
            if types.setdefault(name, kind) != kind:
                raise SettingsError(f"the column {name!r} is given two types: --{types[name]} and --{kind}")
    return {**_settings_file(options)[1], **types}


def _with_decision_rule(predictor: Predictor, options: argparse.Namespace) -> Predictor:
    """Return the model with the threshold and coverage of the options, or its own where they name none."""
    objective = predictor.decision_rule.objective if options.threshold is None else options.threshold
    return predictor.with_decision_rule(None if objective == "none" else objective, options.coverage)


def _warn_of_missing_groups(predictor: Predictor, columns: Iterable[str]) -> None:
    """Warn if the table lacks columns that connected rows in training."""
    schema, evaluation = predictor.schema, predictor.report.evaluation
    missing = [name for name in (*schema.keys, *schema.groups) if name not in set(columns)]
    if missing and evaluation.n_groups < evaluation.n_rows:
        warnings.warn(
            f"the table has no {listed(map(repr, missing), 10)}, which grouped rows where the model was trained: "
            "without it, the intervals treat rows as independent",
            TabcohortWarning,
            stacklevel=1,
        )


# -- audit -----------------------------------------------------------------------------------------------------------


def _print_findings(messages: Console, frame: pl.DataFrame, schema: Schema, choices: ColumnChoices) -> None:
    """Print what the leak audit detects, each in one line; `Table.from_frame` has warned of the labels already."""
    from tabcohort.data.audit import audit

    findings = audit(frame, schema.target, schema.columns, choices)
    findings = tuple(finding for finding in findings if finding.columns != (schema.target,))
    for finding in findings[:MAX_FINDINGS]:
        print_lines(messages, f"note: {finding}")
    if len(findings) > MAX_FINDINGS:
        print_lines(messages, f"note: {len(findings) - MAX_FINDINGS} more findings: see tabcohort look")


# -- output ----------------------------------------------------------------------------------------------------------


def _without_histories(document: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Return what is known of a model without what happened in each epoch, which is long, unless that is asked for."""
    if options.history:
        return document
    report = document["report"]
    members = [{name: value for name, value in member.items() if name != "history"} for member in report["members"]]
    return {**document, "report": {**report, "members": members}}


def _next_steps(options: argparse.Namespace, model: Path) -> list[str]:
    """Return lines that say what was written, and a command to go on with."""
    table = options.table if options.table.startswith("sample:") else "NEW_TABLE"
    path = str(model) if options.out is None or model != Path(options.out) else options.out
    path = path if not path.startswith("-") else os.path.join(os.curdir, path)  # else it would be an option
    curves = [f"curves   {options.curves}"] if options.curves else []
    command = shlex.join([*_this_program(), "predict", path, table])
    reports = _written_reports(options.report, options.card)
    if not options.report:
        reports = [f"         {shlex.join([*_this_program(), 'report', path])}", *reports]
    return [*curves, f"model    {path}", f"next     {command}", *reports]


def _this_program() -> list[str]:
    """Return the words by which a shell in this folder runs this program again."""
    program = Path(sys.argv[0])
    if not shutil.which("tabcohort"):
        if program.parts[-3:] == ("tabcohort", "cli", "__main__.py"):
            return [sys.executable, "-m", "tabcohort.cli"]
        if program.name == "tabcohort":
            path = os.path.relpath(program)
            return [path if os.path.dirname(path) else os.path.join(os.curdir, path)]
    return ["tabcohort"]
