"""The options of every command, with their help."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import shtab

from tabcohort import __version__
from tabcohort.cli import commands, model_commands, serve_command, watch_command
from tabcohort.cli.arguments import OneLineParser, seconds
from tabcohort.cli.output import ReportError, report_error
from tabcohort.errors import SettingsError
from tabcohort.reproduce.experiments import EXPERIMENTS

TABLE = (
    "a file (CSV, TSV, JSON lines, Parquet, Arrow, Excel; also compressed), a folder or a pattern of Parquet files, - "
    "for standard input, a database (sqlite:///FILE, duckdb:///FILE, postgresql://...), or sample:NAME (breast-cancer, "
    "wine, digits, iris)"
)
CLUSTER = "on a Ray cluster: local (started here), auto (runs here), HOST:PORT, or ray://HOST:PORT"
THRESHOLD = (
    "0.3, balanced_accuracy, f1, 'sensitivity>=0.95', 'specificity>=0.95', 'precision>=0.9', 'cost=10:1' (a missed "
    "positive : a false alarm), or none (the most probable class)"
)


def make_parser(report: ReportError = report_error) -> argparse.ArgumentParser:
    """Return the parser of all commands.

    Args:
        report: prints what is wrong with the arguments, before the parser exits.
    """
    parser = OneLineParser(
        report=report,
        prog="tabcohort",
        description="Trustworthy classifiers for tables.",
        epilog="Start here: tabcohort fit sample:breast-cancer",
    )
    parser.add_argument("--version", action="version", version=f"tabcohort {__version__}")
    shtab.add_argument_to(parser, "--print-completion", help="print a completion script for this shell")
    parser.set_defaults(run=None, quiet=False, verbose=False)
    subparsers = parser.add_subparsers(metavar="COMMAND")
    for name, command in COMMANDS.items():
        summary, example = command.summary, f"Example: tabcohort {name} {command.example}"
        subparser = subparsers.add_parser(
            name, help=summary, description=summary.capitalize() + ".", epilog=example, report=report
        )  # fmt: skip
        subparser.add_argument("--json", action="store_true", help="print one JSON document, and nothing else")
        subparser.set_defaults(run=command.run)
        command.add_options(subparser)
    return parser


@dataclass(frozen=True)
class Command:
    """A command: what it runs, what it is for, its arguments in an example, and its options."""

    run: Callable[[argparse.Namespace], int]
    summary: str
    example: str
    add_options: Callable[[argparse.ArgumentParser], None]


def _fit_options(command: argparse.ArgumentParser) -> None:
    _add_table_options(command)
    models = _add_training_options(command)
    models.add_argument(
        "--preset",
        choices=("fast", "default", "best"),
        help="a portfolio of candidates, where --model names none (default)",
    )
    kinds = models.add_mutually_exclusive_group()
    for option, kind, what in (
        ("--nets-only", "networks", "networks only, without boosted trees"),
        ("--linear-only", "linear", "logistic regression only"),
    ):
        kinds.add_argument(option, dest="kinds", action="store_const", const=kind, help=f"of the preset: {what}")
    outputs = command.add_argument_group("more output")
    outputs.add_argument("--curves", metavar="FILE.png", help="draw losses and metric per epoch")
    outputs.add_argument("--report", metavar="FILE", help="write a page about the model and its rows (HTML)")
    _add_card(outputs, "write a model card (Markdown); without a name, model_card.md beside the page or the model")
    curve = "train on growing shares of the rows, too, and say what more rows would bring"
    outputs.add_argument("--learning-curve", action="store_true", help=curve)
    _add_checkpoint(outputs)


def _tune_options(command: argparse.ArgumentParser) -> None:
    _add_table_options(command)
    _add_training_options(command)
    search = command.add_argument_group("search")
    tried = search.add_mutually_exclusive_group()
    n_default = commands.N_RANDOM_CONFIGS
    tried.add_argument("--grid", metavar="FILE.toml", help="lists of values; every combination is tried")
    tried.add_argument("--configs", type=int, metavar="N", help=f"number of random configs ({n_default})")
    search.add_argument("--no-halving", action="store_true", help="train all to the end, also those with a high loss")
    _add_checkpoint(command.add_argument_group("more output"))


def _add_checkpoint(outputs: argparse._ArgumentGroup) -> None:
    outputs.add_argument("--checkpoint", metavar="FOLDER", help="write training to this folder or URL, and resume")


def _look_options(command: argparse.ArgumentParser) -> None:
    _add_table(command)
    command.add_argument("--html", metavar="FILE", help="write a page that shows the same")
    command.add_argument("--write", metavar="FILE.toml", help="write the types of columns, to edit for fit --settings")
    columns = _add_column_options(command)
    columns.add_argument("--settings", metavar="FILE.toml", help="types of columns, in the table [columns]")


def _predict_options(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    _add_table(command)
    command.add_argument("--out", metavar="FILE", help="write CSV (or .parquet) here instead of standard output")
    beside = "the table's columns to write beside the predictions: all (if omitted), none, or their names"
    command.add_argument("--columns", metavar="A,B", help=beside)
    most_probable = "write the K most probable classes of each row instead of a column for each class"
    command.add_argument("--top", type=int, metavar="K", help=most_probable)
    inert = "write an apostrophe before texts that a spreadsheet program would take for formulas"
    command.add_argument("--escape-formulas", action="store_true", help=inert)
    command.add_argument("--explain", type=int, metavar="K", help="add the K largest contributions of each row")
    command.add_argument("--background", metavar="TABLE", help="of --explain: rows to compare with (TABLE)")
    _add_memory(command)
    command.add_argument("--cluster", metavar="ADDRESS", help="for each Parquet file of a folder, " + CLUSTER)
    _add_messages(command)
    _add_decision_options(command)


def _explain_options(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    command.add_argument("table", metavar="TABLE", nargs="?", help=TABLE)
    command.add_argument("--query", metavar="SQL", help="what to read from a database")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument("--row", type=int, metavar="N", help="explain this row of the table, counted from 1")
    which.add_argument("--record", metavar="JSON", help='explain this record, such as \'{"age": 51, "city": "Oslo"}\'')
    command.add_argument("--background", metavar="TABLE", help="rows to compare with (TABLE)")
    command.add_argument("--class", dest="label", metavar="LABEL", help="explain this class (positive, or predicted)")
    command.add_argument("--top", type=int, metavar="K", help="show the K largest contributions (all)")
    together = "columns with commas between that move together, as one; repeatable"
    command.add_argument("--together", metavar="A,B", action="append", default=[], help=together)
    command.add_argument("--seed", type=int, metavar="N", help="of background rows and permutations (the model's)")
    tolerance = "largest standard error, as a share of the largest contribution (0.01)"
    command.add_argument("--tolerance", type=float, metavar="SHARE", help=tolerance)
    command.add_argument("--max-rounds", type=int, metavar="N", help="permutations of each background row (40)")
    command.add_argument("--html", metavar="FILE", help="write a page that shows the same")
    command.add_argument("--quiet", action="store_true", help="print results and errors only")


def _evaluate_options(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    _add_table(command)
    _add_memory(command)


def _compare_options(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    command.add_argument("others", metavar="MODEL", nargs="+", help="models that are compared with the first one")
    command.add_argument("--table", metavar="TABLE", help="rows with the target to compare on: " + TABLE)
    command.add_argument("--query", metavar="SQL", help="what to read from a database")


def _monitor_options(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    _add_table(command)
    command.add_argument("--against", metavar="TABLE", help="rows that the new ones are to be like: the training table")
    command.add_argument(
        "--ignore", metavar="COLUMN", action="append", default=[], help="do not test this column; repeatable"
    )
    command.add_argument("--out", metavar="FILE", help="write a page that shows the same")


def _info_options(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    _add_history(command)


def _report_options(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    command.add_argument("--table", metavar="TABLE", help="the training table, or new rows with the target: " + TABLE)
    command.add_argument("--query", metavar="SQL", help="what to read from a database")
    command.add_argument("--weight", metavar="COLUMN", help="how much each row of the table counts")
    parts = "measure the levels, or quarters of the numbers, of this column; repeatable"
    command.add_argument("--by", metavar="COLUMN", action="append", default=[], help=parts)
    command.add_argument("--out", metavar="FILE", help="write the page to this file (NAME_OF_MODEL.html)")
    card = "write a model card (Markdown), and the page only with --out; without a name, model_card.md beside the page"
    _add_card(command, card)
    command.add_argument("--quiet", action="store_true", help="print results and errors only")


def _export_options(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    command.add_argument("--onnx", metavar="FILE.onnx", required=True, help="write one ONNX graph, from raw columns on")


def _decide_options(command: argparse.ArgumentParser) -> None:
    _add_model(command)
    _add_decision_options(command)
    command.add_argument("--out", metavar="MODEL", help="write the changed model here (default: only show it)")
    _add_history(command)


def _serve_options(command: argparse.ArgumentParser) -> None:
    models = "model files, or NAME=FILE to choose the names in addresses"
    command.add_argument("models", metavar="MODEL", nargs="+", help=models)
    command.add_argument("--host", metavar="HOST", default="127.0.0.1", help="listen on this address (127.0.0.1)")
    command.add_argument(
        "--port", type=int, metavar="PORT", default=8000, help="listen on this port (8000; 0: any free one)"
    )
    command.add_argument("--workers", type=int, metavar="N", default=1, help="processes that answer (1)")
    command.add_argument("--cluster", metavar="ADDRESS", help="by --workers replicas, " + CLUSTER)
    background = "background rows for explanations: TABLE for all models, or NAME=TABLE for one; repeatable; " + TABLE
    command.add_argument("--background", metavar="TABLE", action="append", default=[], help=background)
    shadow = "a shadow model for the model of this name: it predicts too, and is only compared; repeatable"
    command.add_argument("--shadow", metavar="NAME=MODEL", action="append", default=[], help=shadow)
    records = "answer for medical records, FHIR and CDS Hooks, by this mapping of codes and units to columns"
    command.add_argument("--fhir-mapping", metavar="FILE.toml", help=records)
    access = command.add_argument_group("access")
    access.add_argument("--api-key-file", metavar="FILE", help="require one of the API keys in this file, one per line")
    access.add_argument("--no-auth", action="store_true", help="allow requests without a key on a non-local address")
    host = "an additional allowed Host name; repeatable"
    access.add_argument("--allow-host", metavar="NAME", action="append", default=[], help=host)
    log = command.add_argument_group("log of predictions")
    log.add_argument("--log", metavar="FOLDER", help="append every prediction to files in this folder")
    log.add_argument("--log-records", action="store_true", help="write the records too, not only their keyed hashes")
    sync = "when the disk has them: before each answer, once a second (default), or left to the operating system"
    log.add_argument("--log-sync", choices=("always", "second", "never"), help=sync)
    command.add_argument("--quiet", action="store_true", help="print errors only")


def _replay_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("log", metavar="LOG", help="the folder of a log, or a file of it")
    _add_model(command)
    command.add_argument("--table", metavar="TABLE", help="rows in which records are looked up by hash: " + TABLE)
    command.add_argument("--query", metavar="SQL", help="what to read from a database")


def _watch_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("recording", metavar="FILE", help="a recording, written by fit --record")
    speed = "how many times as fast as it happened (so that it takes 20 seconds at most)"
    command.add_argument("--speed", type=float, metavar="N", help=speed)
    command.add_argument("--page", action="store_true", help="show it in a browser, on a local page, until Ctrl-C")
    command.add_argument("--port", metavar="PORT", help="of the page, which it implies (auto: any free one)")


def _reproduce_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", choices=EXPERIMENTS, help=", ".join(EXPERIMENTS))
    command.add_argument("--seeds", type=int, metavar="N", help="number of seeds (default: as the experiment says)")
    command.add_argument("--grid", action="store_true", help="patent: the original's tuning, 54 configs x 3 folds")
    command.add_argument("--no-halving", action="store_true", help="of --grid: train all configs to the end")
    tables = "patent: the original's result tables, 15 variants x 10 seeds; takes hours"
    command.add_argument("--tables", action="store_true", help=tables)
    command.add_argument("--report", metavar="FILE", help="write a page with the claims, verdicts and pictures (HTML)")


def _add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL", help="a model file")


def _add_table(command: argparse.ArgumentParser) -> None:
    command.add_argument("table", metavar="TABLE", help=TABLE)
    command.add_argument("--query", metavar="SQL", help="what to read from a database")


def _add_memory(command: argparse.ArgumentParser) -> None:
    """Add how much memory may be used."""
    memory = "memory to use, at least 1GB: larger Parquet tables are read in pieces (default: half of the machine's)"
    command.add_argument("--memory", metavar="SIZE", help=memory)


def _add_card(options: argparse._ActionsContainer, help_: str) -> None:
    """Add the option for a model card, which is empty without a value."""
    options.add_argument("--card", metavar="FILE.md", nargs="?", const="", help=help_)


def _add_history(command: argparse.ArgumentParser) -> None:
    command.add_argument("--history", action="store_true", help="in --json: what happened in each epoch, too")


def _add_messages(command: argparse.ArgumentParser) -> None:
    """Add how much is said on standard error."""
    messages = command.add_mutually_exclusive_group()
    messages.add_argument("--quiet", action="store_true", help="print results and errors only")
    messages.add_argument("--verbose", action="store_true", help="say more, such as a line per finished member")


def _add_table_options(command: argparse.ArgumentParser) -> None:
    """Add which table, which columns, and where the model goes."""
    _add_table(command)
    command.add_argument("--out", metavar="MODEL", help="write the model to this file (NAME_OF_TABLE.tabcohort)")
    _add_history(command)
    _add_messages(command)
    _add_memory(command)
    store = "keep the rows of a large table in this folder, and use it again (default: a temporary one, if needed)"
    command.add_argument("--store", metavar="FOLDER", help=store)
    columns = _add_column_options(command)
    columns.add_argument("--positive", metavar="LABEL", help="the positive class of two (the last in sorted order)")
    audit = command.add_mutually_exclusive_group()
    audit.add_argument("--no-audit", action="store_true", help="do not look for leaks before training")
    audit.add_argument("--audit", choices=("shuffled",), help="train again on shuffled labels: nothing may be learned")


def _add_column_options(command: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add what is said of a table's columns, and return their group."""
    columns = command.add_argument_group("columns")
    columns.add_argument("--target", metavar="COLUMN", help="the column to predict (a sample knows its own)")
    for name, meaning in (
        ("--key", "identifies a row and is no feature; rows of one key stay together; repeatable"),
        ("--group", "rows of one value never train and test the same member; it is no feature; repeatable"),
        ("--category", "read this column as levels without an order; repeatable"),
        ("--number", "read this column as numbers, and everything else in it as missing; repeatable"),
        ("--date", "read this column as dates; repeatable"),
        ("--text", "read this column as free text; repeatable"),
        ("--drop", "leave this column out; repeatable"),
    ):
        columns.add_argument(name, metavar="COLUMN", action="append", default=[], help=meaning)
    columns.add_argument("--weight", metavar="COLUMN", help="how much each row counts; 0 leaves a row out")
    columns.add_argument("--time", metavar="COLUMN", help="test members on rows later than those they train on")
    return columns


def _add_training_options(command: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add what the members are like, how many there are, and how they are run; return the group of the first."""
    models = command.add_argument_group("models")
    models.add_argument(
        "--model", choices=("logistic", "mlp", "residual", "trees"), help="one kind of model, with its default settings"
    )
    models.add_argument("--settings", metavar="FILE.toml", help="all other hyperparameters; see the docs")
    models.add_argument("--seed", type=int, metavar="N", help="of every random choice (0)")
    models.add_argument("--folds", type=int, metavar="K", help="parts of the rows that take turns (1: no folds)")
    repeats = models.add_mutually_exclusive_group()
    repeats.add_argument("--seeds", type=int, metavar="N", help="number of times that all folds are trained")
    repeats.add_argument("--members", type=int, metavar="N", help="members per config, folds x seeds")
    run = command.add_argument_group("run")
    run.add_argument("--budget", type=seconds, metavar="SECONDS", help="end with the best so far after this time")
    run.add_argument("--threads", type=int, metavar="N", help="members side by side (default: one per core)")
    run.add_argument("--cluster", metavar="ADDRESS", help=CLUSTER)
    run.add_argument("--engine", choices=("auto", "torch", "compiled", "batched"), help="what runs the epochs (auto)")
    run.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), help="where PyTorch runs (auto)")
    live = "show losses, members and layers while they train, in the terminal and on a local page (port: auto)"
    run.add_argument("--live", metavar="PORT", nargs="?", const=watch_command.AUTO, type=_port_of_live, help=live)
    run.add_argument("--record", metavar="FILE", help="write every epoch to this file, for watch (JSON lines)")
    _add_decision_options(command)
    return models


def _port_of_live(text: str) -> str:
    """Return the port of `--live` as it was given, if it is one: the option would also take a table that follows it.

    Raises:
        ArgumentTypeError: it is neither a port nor "auto".
    """
    try:
        watch_command.port_of(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(f"{error}; if it is the table, name it before --live") from None
    return text


def _add_decision_options(command: argparse.ArgumentParser) -> None:
    """Add how probabilities become answers."""
    decision = command.add_argument_group("decision")
    decision.add_argument("--threshold", metavar="OBJECTIVE", help="for the positive class: " + THRESHOLD)
    decision.add_argument("--coverage", type=float, metavar="SHARE", help="of each class, by prediction sets (0.9)")


COMMANDS = {
    "look": Command(
        commands.look,
        "show what a table holds, what would be done with each column, and what looks wrong",
        "patients.csv --target outcome --write columns.toml",
        _look_options,
    ),
    "fit": Command(
        commands.fit,
        "train a classifier on a table, and test each row on members that never saw it",
        "patients.csv --target outcome --key patient_id --out relapse.tabcohort",
        _fit_options,
    ),
    "tune": Command(
        commands.tune,
        "try many configs side by side, and keep those that are best together",
        "patients.csv --target outcome --configs 24 --budget 120 --out relapse.tabcohort",
        _tune_options,
    ),
    "predict": Command(
        model_commands.predict,
        "predict for the rows of a table",
        "relapse.tabcohort new_patients.csv --out predictions.csv",
        _predict_options,
    ),
    "explain": Command(
        model_commands.explain,
        "show what each column contributes to the prediction for one row",
        "relapse.tabcohort patients.csv --row 12",
        _explain_options,
    ),
    "evaluate": Command(
        model_commands.evaluate,
        "measure a model on a table that has the target",
        "relapse.tabcohort last_year.csv",
        _evaluate_options,
    ),
    "compare": Command(
        model_commands.compare,
        "compare models on the same rows, and say whether these can tell them apart",
        "relapse.tabcohort tuned.tabcohort",
        _compare_options,
    ),
    "monitor": Command(
        model_commands.monitor,
        "find out whether new rows are like the training rows, and the model as good on them as promised",
        "relapse.tabcohort new_patients.csv --against patients.csv",
        _monitor_options,
    ),
    "info": Command(model_commands.info, "show what a model file holds", "relapse.tabcohort", _info_options),
    "report": Command(
        model_commands.report,
        "write a page on what a model is, how good it is and where it fails",
        "relapse.tabcohort --table patients.csv --out report.html",
        _report_options,
    ),
    "export": Command(
        model_commands.export,
        "write a model as a graph that other runtimes read",
        "relapse.tabcohort --onnx relapse.onnx",
        _export_options,
    ),
    "decide": Command(
        model_commands.decide,
        "choose another threshold or coverage for a model, without training",
        "relapse.tabcohort --threshold 'sensitivity>=0.95' --out cautious.tabcohort",
        _decide_options,
    ),
    "serve": Command(
        serve_command.serve,
        "serve models to programs, and to people in a browser",
        "relapse.tabcohort --background patients.csv --log predictions",
        _serve_options,
    ),
    "replay": Command(
        serve_command.replay,
        "repeat the predictions of a server's log, and show that each is reproduced",
        "predictions relapse.tabcohort --table patients.csv",
        _replay_options,
    ),
    "watch": Command(
        watch_command.watch,
        "replay the recording of a training, or follow one that is still being written",
        "run.jsonl --speed 10",
        _watch_options,
    ),
    "reproduce": Command(
        commands.reproduce,
        "run a reference document's experiment beside its claims",
        "cancer --seeds 20",
        _reproduce_options,
    ),
}
