"""What the commands about a model do: from options to objects, one call of the library, and output.

What a command needs is imported when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabcohort.cli import big_tables, explanations, files
from tabcohort.cli.output import consoles, print_json, print_lines, without_histories
from tabcohort.cli.source_options import open_table, shown_name
from tabcohort.errors import SettingsError, TabcohortWarning, TableError, listed

if TYPE_CHECKING:
    import polars as pl

    from tabcohort.model.predictor import Predictor
    from tabcohort.types import IntArray

CHANGED = 1  # exit status of `monitor`
INTERRUPTED_REPORT = "interrupted before the report was complete"


def predict(options: argparse.Namespace) -> int:
    """Write predictions."""
    explanations.check_top(options)
    if options.cluster is not None:
        return _predict_on_cluster(options)
    from tabcohort.model.explain import score_name
    from tabcohort.model.file import load
    from tabcohort.reporting.prediction_files import (
        columns_to_write,
        csv_text,
        json_rows,
        without_formulas,
        write_predictions,
    )

    files.check_outputs((options.out,), inputs=(options.model, options.table, options.background))
    if options.out and Path(options.out).suffix.lower() not in (".csv", ".parquet"):
        raise SettingsError(f"{options.out!r} must end in .csv or .parquet")
    if options.explain is not None and options.explain < 1:
        raise SettingsError(f"--explain is a number of reasons, at least 1; it is {options.explain}")
    if options.background and options.explain is None:
        raise SettingsError("--background goes with --explain K")
    if options.escape_formulas and (options.json or (options.out or "").lower().endswith(".parquet")):
        raise SettingsError("--escape-formulas goes with CSV: nothing takes a text in JSON or Parquet for a formula")
    _, messages = consoles(options.quiet)
    predictor = load(options.model)
    if options.verbose:
        print_lines(messages, repr(predictor), f"reading {shown_name(options.table)}")
    if options.threshold is not None or options.coverage is not None:
        predictor = _with_decision_rule(predictor, options)
    rows = big_tables.rows_to_stream(options)
    if rows is not None:
        return big_tables.predict(options, predictor, rows)
    frame = open_table(options).frame
    columns = columns_to_write(options.columns, frame.columns)
    reasons = None
    if options.explain is not None:
        background = _background(options)
        explained = predictor.explained_class
        of_class = "each row's predicted class" if explained is None else repr(explained)
        print_lines(
            messages, f"reasons  contributions to the {score_name(len(predictor.schema.classes))} of {of_class}"
        )
        reasons = explanations.reasons_of_rows(predictor, frame, background, options.explain, messages)
    predictions = predictor.predict_frame(frame, columns, reasons, options.top)
    numbers = [*predictor.probability_names(options.top), "spread"]
    if options.escape_formulas:
        predictions = without_formulas(predictions)
    if options.json:
        print_json({"predictions": json_rows(predictions)})
    if options.out:
        write_predictions(predictions, options.out, numbers)
        print_lines(messages, f"{len(predictions):,} predictions in {options.out}")
    elif not options.json:
        sys.stdout.write(csv_text(predictions, numbers, sys.stdout.isatty()))
    return 0


def _predict_on_cluster(options: argparse.Namespace) -> int:
    """Write the predictions for each Parquet file of a folder, on a cluster."""
    from tabcohort.cluster.batch_prediction import find_shards, predict_shards
    from tabcohort.cluster.connection import connect, what_connecting_does
    from tabcohort.model.file import load

    unused = ("--explain", "--background", "--query", "--json", "--escape-formulas")
    given = [name for name in unused if getattr(options, name.removeprefix("--").replace("-", "_"))]
    if given:
        raise SettingsError(f"--cluster writes predictions only: leave out {listed(given, len(unused))}")
    if options.out is None:
        raise SettingsError("--cluster writes a file for each file that it reads: say where with --out FOLDER")
    _, messages = consoles(options.quiet)
    predictor = load(options.model)
    if options.threshold is not None or options.coverage is not None:
        predictor = _with_decision_rule(predictor, options)
    shards = find_shards(options.table, options.out)
    print_lines(messages, f"cluster  {what_connecting_does(options.cluster)}")
    print_lines(messages, f"cluster  {connect(options.cluster)} cores, {len(shards.paths):,} files")
    n_rows = predict_shards(predictor, shards, options.columns, top=options.top)
    print_lines(messages, f"{n_rows:,} predictions in {options.out}")
    return 0


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
    frame = None if options.table is None else open_table(options).frame
    background = _background(options)
    if options.row is not None and frame is not None and options.row in _training_rows(predictor, frame):
        _warn("the model was trained on this row: its prediction for it is not out-of-sample")
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
    which = "the record" if options.row is None else f"row {options.row:,} of {shown_name(options.table)}"
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
    return open_table(argparse.Namespace(table=options.background, query=None, quiet=options.quiet)).frame


def evaluate(options: argparse.Namespace) -> int:
    """Measure a model on a table."""
    from tabcohort.data.table import Table
    from tabcohort.model.facts import evaluation_facts, set_facts, weights_classes
    from tabcohort.model.file import load
    from tabcohort.reporting.terminal import print_evaluation, print_sets

    predictor, rows = load(options.model), big_tables.rows_to_stream(options)
    schema = predictor.schema
    if rows is None:
        frame = open_table(options).frame
        _warn_of_missing_groups(predictor, frame.columns)
        table = Table.for_schema(frame, schema)
        if predictor.was_trained_on(table):
            _warn("the model was trained on this table: these figures flatter it; those of `info` are honest")
        predictor.warn_of_unusual_rows(frame)
        log_proba = predictor.log_proba_of(table)
    else:
        _warn_of_missing_groups(predictor, rows.names)
        table, log_proba = big_tables.evaluated(options, predictor, rows)
    evaluation = evaluation_facts(predictor.evaluate(table, log_proba), schema.classes, weights_classes(predictor))
    coverage = predictor.decision_rule.coverage
    sets = set_facts(predictor.evaluate_sets(table, log_proba), coverage, schema.classes)
    if options.json:
        print_json({"classes": schema.classes, **evaluation, "sets": sets})
    else:
        out, _ = consoles()
        print_evaluation(out, evaluation, vars(schema), f" of {shown_name(options.table)}")
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
    frame = None if options.table is None else open_table(options).frame
    if frame is not None:
        _warn_of_missing_groups(predictors[options.model], frame.columns)
    facts = comparison_facts(compare_models(predictors, frame))
    if options.json:
        print_json(facts)
    else:
        which = f" of {shown_name(options.table)}" if options.table else ", each predicted by members that never saw it"
        print_comparison(consoles()[0], facts, which)
    return 0


def monitor(options: argparse.Namespace) -> int:
    """Compare new rows with what a model knows; the exit status is 1 where something has changed."""
    from tabcohort.model.file import load
    from tabcohort.model.monitor import monitor as monitor_rows
    from tabcohort.reporting.monitor_text import print_monitor

    files.check_outputs((options.out,), inputs=(options.model, options.table, options.against))
    predictor, frame = load(options.model), open_table(options).frame
    _warn_of_missing_groups(predictor, frame.columns)
    against = None
    if options.against is not None:
        against = open_table(argparse.Namespace(table=options.against, query=None)).frame
    if options.against is None and len(_training_rows(predictor, frame)):
        _warn("this is the table that the model was trained on; monitoring needs newer rows")
    facts = monitor_rows(predictor, frame, against, options.ignore)
    if options.out:
        from tabcohort.reporting.monitor_page import monitor_page

        files.write_text(options.out, monitor_page(facts, shown_name(options.table)))
    if options.json:
        print_json(facts)
    else:
        print_monitor(consoles()[0], facts, shown_name(options.table))
        if options.out:
            print(f"written  {options.out}", file=sys.stderr)
    return CHANGED if facts["alarm"] else 0


def info(options: argparse.Namespace) -> int:
    """Show what a model file holds."""
    from tabcohort.container import FORMAT
    from tabcohort.model.file import describe, read_model

    document = {**describe(*read_model(options.model)), "kind": "model", "format": FORMAT}
    if options.json:
        print_json(without_histories(document, options.history))
    else:
        from tabcohort.reporting.terminal import print_model

        print_model(consoles()[0], document)
    return 0


def report(options: argparse.Namespace) -> int:
    """Write a page about a model, and print its facts."""
    from tabcohort.model.file import load

    options.card = files.card_path(options.card, options.out or files.default_report(options.model))
    files.check_outputs((options.out, options.card), inputs=(options.model, options.table))
    if Path(options.out or "").suffix.lower() not in ("", ".html", ".htm"):
        raise SettingsError(f"a report is a page, so {options.out!r} must end in .html")
    if options.table is None and (options.by or options.weight or options.query):
        raise SettingsError("--by, --weight and --query are about a table: name one with --table")
    predictor = load(options.model)
    frame = None if options.table is None else open_table(options).frame
    page = options.out
    if not (page or options.json or options.card):
        page = str(files.default_report(options.model))
    try:
        facts = facts_of_report(predictor, frame, options)
        if options.json:
            print_json(facts)
        write_reports(facts, Path(options.model), page, options.card)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(INTERRUPTED_REPORT) from None
    _, messages = consoles(options.quiet)
    print_lines(messages, *written_reports(page, options.card))
    if not (page or options.json):
        print_lines(messages, "page     add --out FILE to write it, too")
    return 0


def facts_of_report(predictor: Predictor, frame: pl.DataFrame | None, options: argparse.Namespace) -> dict[str, Any]:
    """Return the facts of a report, with those of a table where there is one; say which rows are measured."""
    from tabcohort.model.report_facts import report_facts
    from tabcohort.model.report_table import ReportTable
    from tabcohort.reporting.progress_displays import ReportDisplay

    if frame is None:
        return report_facts(predictor)
    table = ReportTable.of(frame, predictor, options.weight)
    if not table.is_training_table:
        _warn(
            "this is not the table that the model was trained on: the report measures the model on its rows, and "
            "flatters it if training rows are among them"
        )
    by = getattr(options, "by", ())
    with ReportDisplay(consoles(options.quiet)[1]) as display:
        return report_facts(predictor, table, by, shown_name(options.table), display)


def write_reports(facts: dict[str, Any], model: Path, page: str | None, card: str | None) -> None:
    """Write the page of a report and the model card, as far as files are named for them, when both are complete."""
    texts = {}
    if page:
        from tabcohort.reporting.report_page import report_page

        texts[page] = report_page(facts, model.name)
    if card:
        from tabcohort.reporting.model_card import model_card

        texts[card] = model_card(facts, model.name, model.name)
    for path, text in texts.items():
        files.write_text(path, text)


def written_reports(page: str | None, card: str | None) -> list[str]:
    """Return a line for each file that `write_reports` writes."""
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
        print_json(without_histories(document, options.history))
        return 0
    out, _ = consoles()
    print_decision_change(out, describe(model), document)
    kept = "not kept: add --out MODEL.tabcohort to keep this change"
    if options.out:
        kept = f"model    {options.out}; all of it: tabcohort info {options.out}"
    print_lines(out, "", kept)
    return 0


def _with_decision_rule(predictor: Predictor, options: argparse.Namespace) -> Predictor:
    """Return the model with the threshold and coverage of the options, or its own where they name none."""
    objective = predictor.decision_rule.objective if options.threshold is None else options.threshold
    return predictor.with_decision_rule(None if objective == "none" else objective, options.coverage)


def _warn_of_missing_groups(predictor: Predictor, columns: Iterable[str]) -> None:
    """Warn if the table lacks columns that connected rows in training."""
    schema, evaluation = predictor.schema, predictor.report.evaluation
    missing = [name for name in (*schema.keys, *schema.groups) if name not in set(columns)]
    if missing and evaluation.n_groups < evaluation.n_rows:
        _warn(
            f"the table has no {listed(map(repr, missing), 10)}, which grouped rows where the model was trained: "
            "without it, the intervals treat rows as independent"
        )


def _training_rows(predictor: Predictor, frame: pl.DataFrame) -> IntArray:
    """Return the numbers of the rows that a model was trained on, from 1, if the frame is its training table."""
    import numpy as np

    from tabcohort.model.report_table import ReportTable

    nothing = np.empty(0, dtype=np.int64)
    if len(frame) < predictor.report.n_rows:  # reading all cells takes a while
        return nothing
    with warnings.catch_warnings(), suppress(TableError):
        warnings.simplefilter("ignore")  # what is wrong with the table is said elsewhere
        table = ReportTable.of(frame, predictor)
        if table.is_training_table:
            return table.row_numbers
    return nothing


def _warn(message: str) -> None:
    warnings.warn(message, TabcohortWarning, stacklevel=2)
