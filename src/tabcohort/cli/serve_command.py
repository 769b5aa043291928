"""What `serve` and `replay` do: from options to objects, one call of the library, and output."""

from __future__ import annotations

import argparse
import functools
import importlib.util
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabcohort.cli.output import consoles, print_json, print_lines
from tabcohort.cli.source_options import open_table, shown_name
from tabcohort.errors import SettingsError, TabcohortError, TabcohortWarning, listed

if TYPE_CHECKING:
    from tabcohort.server.options import ServerOptions

DIFFERENT = 1  # exit status of `replay`


def serve(options: argparse.Namespace) -> int:
    """Answer requests for predictions until Ctrl-C."""
    began = time.perf_counter()
    require_extra()
    from tabcohort.server.medical.fhir_mapping import read_mapping
    from tabcohort.server.model_store import ModelStore, model_names
    from tabcohort.server.options import ServerOptions, read_keys
    from tabcohort.server.prediction_log import LogPolicy, prepare_folder
    from tabcohort.server.processes import Plan, address_of, listen
    from tabcohort.server.processes import serve as serve_models

    if (options.log_records or options.log_sync) and not options.log:
        raise SettingsError("--log-records and --log-sync go with --log FOLDER")
    server_options = ServerOptions(
        host=options.host,
        port=options.port,
        keys=read_keys(options.api_key_file) if options.api_key_file else (),
        allow_unauthenticated=options.no_auth,
        allowed_hosts=tuple(options.allow_host),
        n_workers=options.workers,
    )
    paths = model_names(options.models)
    if options.cluster is not None:
        return _serve_on_cluster(options, paths, server_options)
    tables = _backgrounds(options.background, list(paths))
    # Read once for all models that share a table, and for those that replace them.
    readers = {table: functools.cache(functools.partial(_rows, table)) for table in set(tables.values())}
    background = {name: readers[table] for name, table in tables.items()}
    store = ModelStore(paths, _shadows(options.shadow), background)
    mapping = read_mapping(options.fhir_mapping) if options.fhir_mapping else None
    policy = LogPolicy(Path(options.log), options.log_records, options.log_sync or "second") if options.log else None
    plan = Plan(store, server_options, policy, mapping)
    if policy is not None:
        prepare_folder(policy.folder)
    if server_options.n_workers == 1:  # nothing may be read before workers are forked
        for table, read in readers.items():
            read()
            if not any(store.models[name].can_explain for name in tables if tables[name] == table):
                raise SettingsError(f"{shown_name(table)} has the columns of no model: name another --background")
    _, messages = consoles(options.quiet)
    listening = listen(server_options)
    address = address_of(listening)
    for model in store.models.values():
        print_lines(messages, f"model    {model.name}, version {model.version}: {model.path}")
        if (shadow := store.shadow_of(model.name)) is not None:
            print_lines(messages, f"shadow   {model.name}, version {shadow.version}: {shadow.path}")
    if mapping is not None:
        print_lines(messages, f"medical  {address}/fhir/$evaluate and {address}/cds-services, for {mapping.model}")

    def announce() -> None:
        seconds = time.perf_counter() - began
        if options.json:
            models = {name: {"version": model.version, "file": str(model.path)} for name, model in store.models.items()}
            print_json({"address": address, "models": models, "seconds": seconds})
            sys.stdout.flush()
        print_lines(messages, f"ready    {address} in {seconds:.1f} s; API: {address}/docs; press Ctrl-C to stop")

    warnings.simplefilter("ignore", TabcohortWarning)  # each answer has its own
    status = serve_models(plan, listening, announce)
    print_lines(messages, "stopped")
    return status


def _serve_on_cluster(options: argparse.Namespace, paths: Mapping[str, Any], server_options: ServerOptions) -> int:
    """Answer by replicas on a cluster until Ctrl-C."""
    from tabcohort.cluster.connection import LOCAL, connect, raising_plainly, what_connecting_does
    from tabcohort.model.file import load
    from tabcohort.server.cluster_server import start, stop

    if options.background or options.shadow or options.fhir_mapping or options.log:
        raise SettingsError("--cluster serves models only: leave out --background, --shadow, --fhir-mapping and --log")
    for path in paths.values():
        load(path)  # what is wrong with a file is said here
    _, messages = consoles(options.quiet)
    print_lines(messages, f"cluster  {what_connecting_does(options.cluster)}")
    connect(options.cluster)
    try:
        with raising_plainly("Ray Serve"):
            files = {name: Path(path) for name, path in paths.items()}
            address = start(files, server_options, options.cluster == LOCAL)
        if options.json:
            print_json({"address": address, "models": {name: {"file": str(path)} for name, path in paths.items()}})
            sys.stdout.flush()
        print_lines(messages, f"ready    {address}, {server_options.n_workers} replicas; press Ctrl-C to stop")
        threading.Event().wait()
    except KeyboardInterrupt:
        print_lines(messages, "stopped")
    finally:
        stop()
    return 0


def require_extra() -> None:
    """Raise `TabcohortError` if a package that a server needs is not installed.

    None is imported: what counts requests reads its environment when it is.
    """
    for name in ("starlette", "uvicorn", "prometheus_client"):
        if importlib.util.find_spec(name) is None:
            raise TabcohortError(f"a server needs {name}: pip install 'tabcohort[serve]'")


def _rows(table: str) -> Any:
    return open_table(argparse.Namespace(table=table, query=None, quiet=True)).frame


def _backgrounds(arguments: list[str], names: list[str]) -> dict[str, str]:
    """Return the table with the rows to compare with of each model that has one: its own, or one for all models."""
    from tabcohort.server.model_store import MODEL_NAME

    tables: dict[str, str] = {}  # by the name of a model; "" for all models
    for argument in arguments:
        name, _, table = argument.partition("=")
        if table and name not in names and MODEL_NAME.fullmatch(name) and not Path(argument).exists():
            raise SettingsError(f"--background: there is no model {name!r}; there are {listed(names, 20)}")
        name, table = (name, table) if table and name in names else ("", argument)
        if name in tables:
            raise SettingsError(
                f"--background is given twice for {name or 'all models'}: use NAME=TABLE for each model"
            )
        tables[name] = table
    common = dict.fromkeys(names, tables.pop("")) if "" in tables else {}
    return {**common, **tables}


def _shadows(arguments: list[str]) -> dict[str, str]:
    shadows = {}
    for argument in arguments:
        name, is_named, path = argument.partition("=")
        if not is_named:
            raise SettingsError(f"--shadow is NAME=MODEL, the name of a served model and a file; it is {argument!r}")
        shadows[name] = path
    return shadows


def replay(options: argparse.Namespace) -> int:
    """Repeat the predictions of a log, and say which differ; the exit status is 1 where any does, or none is equal."""
    from tabcohort.container import fingerprint_of
    from tabcohort.model.file import load
    from tabcohort.server.replay import replay as replay_log

    predictor = load(options.model)
    frame = None if options.table is None else open_table(options).frame
    facts = replay_log(options.log, predictor, fingerprint_of(options.model), frame)
    if options.json:
        print_json(facts)
    else:
        out, _ = consoles()
        print_lines(
            out,
            f"equal      {facts['n_equal']:,} answers, to the bit",
            f"different  {facts['n_different']:,}",
            *(f"  {own['time']} request {own['request']}, row {own['row']}" for own in facts["different"]),
            f"skipped    {facts['n_other_models']:,} of other models, {facts['n_without_record']:,} without a record, "
            f"{facts['n_damaged']:,} cut or damaged lines",
        )
        if facts["n_without_record"]:
            advice = "give the records with --table TABLE: they are known by their hashes"
            print(advice if frame is None else "the table lacks the others", file=sys.stderr)
    return 0 if facts["n_equal"] and not facts["n_different"] else DIFFERENT
