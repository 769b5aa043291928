"""What is written, and where: checks before any work is done, and where models and reports go when nobody says."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tabcohort.errors import ModelFileError, SettingsError
from tabcohort.file_locks import HeldError, process_lock

if TYPE_CHECKING:
    from tabcohort.model.predictor import Predictor

MODEL, CARD = ".tabcohort", "model_card.md"
# Endings of tables, and of what they are packed in, that are no part of a model's name.
ENDINGS = (
    ".csv", ".tsv", ".tab", ".txt", ".parquet", ".arrow", ".feather", ".ipc", ".json", ".jsonl", ".ndjson", ".xls",
    ".xlsx", ".db", ".sqlite", ".sqlite3", ".duckdb", ".gz", ".zip", ".zst", ".bz2", ".xz",
)  # fmt: skip

reserved = contextlib.ExitStack()  # the locks of the files that this process's command writes, until it ends


# -- before any work is done -----------------------------------------------------------------------------------------


def check_outputs(paths: Sequence[str | None], inputs: Sequence[str | None]) -> None:
    """Raise before any work is done if a file could not be written, or would overwrite what is read.

    Until the command ends, no other command that writes one of these files begins.

    Raises:
        SettingsError: a file is also read, is named twice, is written by another command, or is in a folder that is
            not there.
        ModelFileError: a file cannot be written, or is a folder, a device, a pipe or a socket.
    """
    from tabcohort.container import check_writable

    read = {os.path.realpath(path) for path in filter(None, inputs)}
    written = [os.path.realpath(path) for path in filter(None, paths)]
    for path in filter(None, paths):
        if written.count(os.path.realpath(path)) > 1:
            raise SettingsError(f"{path!r} is named twice, and one would overwrite the other; name different files")
    for path in filter(None, paths):
        target = Path(os.path.realpath(path))
        if str(target) in read:
            raise SettingsError(f"{path!r} is what this command reads; write to another file")
        if not target.parent.is_dir():
            raise SettingsError(f"there is no folder {str(Path(path).parent)!r} to write to; make it first")
        check_writable(path)
        _reserve(path, target)


def _reserve(path: str, target: Path) -> None:
    """Let other commands know until this one ends that it writes a file.

    Raises:
        SettingsError: another one does.
    """
    from tabcohort.container import TEMPORARY_PREFIX

    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]  # the name itself may be as long as names can be
    try:
        with contextlib.suppress(OSError):  # some file systems have no locks
            reserved.enter_context(process_lock(target.with_name(f"{TEMPORARY_PREFIX}{digest}.lock")))
    except HeldError as error:
        raise SettingsError(
            f"{path!r} is written by another run, process {error.holder}; wait for its end, or name another file"
        ) from None


def check_default_model(table: str) -> None:
    """Raise before any work is done if a model without a name could not be kept.

    Raises:
        ModelFileError: the current folder cannot be written to.
    """
    from tabcohort.container import check_writable

    try:
        check_writable(default_model(table))
    except ModelFileError as error:
        raise ModelFileError(f"{error}; say where the model goes with --out MODEL{MODEL}") from None


# -- models ----------------------------------------------------------------------------------------------------------


def default_model(table: str) -> Path:
    """Return where a model goes when nobody says: the table's name in the current folder, which overwrites nothing.

    Examples:
        >>> str(default_model("somewhere/patients.csv.gz")), str(default_model("sample:wine")), str(default_model("-"))
        ('patients.tabcohort', 'wine.tabcohort', 'model.tabcohort')
    """
    name = "model" if table == "-" or "://" in table else Path(table.removeprefix("sample:")).name
    if glob.has_magic(name):  # the folder of several files
        name = Path(table).parent.name or "model"
    while Path(name).suffix.lower() in ENDINGS:
        name = Path(name).stem
    return unused(Path(f"{name}{MODEL}"))


def default_report(model: str) -> Path:
    """Return where a report goes when nobody says: the model's name in the current folder, which overwrites nothing.

    Examples:
        >>> str(default_report("models/patients.tabcohort"))
        'patients.html'
    """
    return unused(Path(Path(model).name.removesuffix(MODEL) + ".html"))


def card_path(named: str | None, beside: str | Path) -> str | None:
    """Return where a model card goes.

    Args:
        named: by `--card`: a file, empty where the option has no value, or None without it.
        beside: the file in whose folder a card without a name is `model_card.md`, which overwrites nothing.
    """
    return str(unused(Path(beside).parent / CARD)) if named == "" else named


def write_text(path: str, text: str) -> None:
    """Write a text file, which replaces one of this name when it is complete."""
    from tabcohort.container import replace_file

    replace_file(path, lambda file: file.write(text.encode()))


def unused(path: Path) -> Path:
    """Return the path, or the first of NAME-2, NAME-3 and so on that is not there."""
    return next(own for own in _numbered(path) if not os.path.lexists(own))


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    number = 2
    while True:
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1


def save_or_rescue(predictor: Predictor, path: Path) -> None:
    """Write a model, or keep it in a temporary folder where that has become impossible since it was checked.

    Raises:
        ModelFileError: it cannot be written there; the message says where it is.
    """
    from tabcohort.model.file import save

    try:
        save(predictor, path)
    except ModelFileError as error:
        rescued = Path(tempfile.mkdtemp(prefix="tabcohort-"), path.name)
        try:
            save(predictor, rescued)
        except ModelFileError:
            raise error from None
        raise ModelFileError(f"{error}; the model was kept as {str(rescued)!r}") from None
