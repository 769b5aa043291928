"""Predictions for the rows of many Parquet files, each of which is one task of Ray Data: a file in, a file out.

A file's predictions are the same as those of `tabcohort predict` for it, and are written under its name.
"""

from __future__ import annotations

import functools
import glob
import logging
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from tabcohort.cluster.connection import raising_plainly
from tabcohort.cohort.mirrored_folder import raising_settings_errors
from tabcohort.errors import ModelFileError, SettingsError, TabcohortError, TableError

if TYPE_CHECKING:
    from tabcohort.model.predictor import Predictor

SHARD = ".parquet"


@dataclass(frozen=True)
class Shards:
    """Parquet files, and the folder that their predictions are written to.

    Args:
        paths: of the files, by name.
        folder: of the predictions, a path or a URL.
    """

    paths: tuple[str, ...]
    folder: str


def find_shards(source: str, folder: str) -> Shards:
    """Return the Parquet files of a folder or a pattern, and make the folder that their predictions go to.

    Args:
        source: a folder, or a pattern such as `rows/part-*.parquet`; a path, or a URL that fsspec knows.
        folder: of the predictions.

    Raises:
        TableError: there are no such files.
        SettingsError: two files have one name, or the folder is that of the files or cannot be made.
    """
    import fsspec

    with raising_settings_errors(source):
        files, path = fsspec.core.url_to_fs(source)
        matches = files.glob(path if glob.has_magic(path) else f"{path.rstrip('/')}/*{SHARD}")
        paths = sorted((match for match in matches if match.endswith(SHARD)), key=_name)
    if not paths:
        raise TableError(f"{source!r} must be a folder with files {SHARD}, or a pattern of some; there are none")
    twice = [name for name, count in Counter(map(_name, paths)).items() if count > 1]
    if twice:
        raise SettingsError(f"two files are called {twice[0]!r}, and their predictions would be; name one folder")
    with raising_settings_errors(folder):
        others, target = fsspec.core.url_to_fs(folder)
        if type(others) is type(files) and target.rstrip("/") in {str(PurePosixPath(own).parent) for own in paths}:
            raise SettingsError(f"{folder!r} is what this command reads; write to another folder")
        others.makedirs(target, exist_ok=True)
    return Shards(tuple(files.unstrip_protocol(own) for own in paths), others.unstrip_protocol(target))


def predict_shards(
    predictor: Predictor,
    shards: Shards,
    columns: str | None,
    on_shard: Callable[[int], None] = lambda n_rows: None,
    top: int | None = None,
) -> int:
    """Write the predictions for each file, on all nodes of the cluster that this process is connected to.

    Args:
        predictor: the model.
        shards: files of rows, and where their predictions go. All nodes must reach both: by URL, or a shared folder.
        columns: of the rows that are written beside the predictions: "all" (None too), "none", or names with commas.
        on_shard: called with the number of rows of a file when its predictions are written.
        top: as for `Predictor.predict_frame`.

    Returns:
        The number of rows.

    Raises:
        TabcohortError: a file is no table for this model, or cannot be read or written.
        EngineError: the cluster failed.
    """
    import ray

    from tabcohort.model.file import save

    with tempfile.TemporaryDirectory(prefix="tabcohort-") as folder:
        save(predictor, Path(folder, "model"))
        model = Path(folder, "model").read_bytes()
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    n_rows = 0
    with raising_plainly("the cluster"):
        items = ray.data.from_items([{"shard": path} for path in shards.paths], override_num_blocks=len(shards.paths))
        written = items.map(write_shard, fn_args=([ray.put(model)], shards.folder, columns, top), num_cpus=1)
        for row in written.iter_rows():
            if row["error"]:
                raise TabcohortError(f"{_name(row['shard'])}: {row['error']}")
            n_rows += row["n_rows"]
            on_shard(row["n_rows"])
    return n_rows


def write_shard(
    row: dict[str, Any], model: list[Any], folder: str, columns: str | None, top: int | None
) -> dict[str, Any]:
    """Write the predictions for a file in a worker, and return its number of rows, or what is wrong with it.

    Args:
        row: the path or URL of the file, as "shard".
        model: the reference of the content of the model's file, in a list so that Ray does not resolve it.
        folder: that the predictions go to.
        columns, top: see `predict_shards`.
    """
    import ray

    try:
        predictor = _loaded(ray.get(model[0]))
        return {**row, "n_rows": predict_shard(predictor, str(row["shard"]), folder, columns, top), "error": ""}
    except TabcohortError as error:
        return {**row, "n_rows": 0, "error": str(error)}


@functools.lru_cache(maxsize=1)
def _loaded(model: bytes) -> Predictor:
    """Return the model of a file's content: no object of Python is taken from it."""
    from tabcohort.model.file import load

    with tempfile.TemporaryDirectory(prefix="tabcohort-") as name:
        path = Path(name, "model.tabcohort")
        path.write_bytes(model)
        return load(path)


def predict_shard(predictor: Predictor, shard: str, folder: str, columns: str | None, top: int | None = None) -> int:
    """Write the predictions for a file of rows, and return their number.

    Args:
        predictor: the model.
        shard: the file, a path or a URL.
        folder: that the predictions go to, under the name of the file.
        columns, top: see `predict_shards`.

    Raises:
        TabcohortError: the file is not there, or is no table for this model.
    """
    import fsspec

    from tabcohort.data.sources import read_frame
    from tabcohort.reporting.prediction_files import columns_to_write, write_predictions

    with tempfile.TemporaryDirectory(prefix="tabcohort-") as name:
        copy, predicted = Path(name, _name(shard)), Path(name, f"predicted{SHARD}")
        try:
            files, path = fsspec.core.url_to_fs(shard)
            files.get_file(path, str(copy))
        except FileNotFoundError:
            raise TableError(f"{shard!r} is not there on a node of the cluster; name a folder that all share") from None
        frame = read_frame(copy)
        predictions = predictor.predict_frame(frame, columns_to_write(columns, frame.columns), top=top)
        write_predictions(predictions, str(predicted), [*predictor.probability_names(top), "spread"])
        _put(predicted, f"{folder.rstrip('/')}/{_name(shard)}")
    return len(frame)


def _put(file: Path, url: str) -> None:
    """Copy a file to a path or URL, where it appears when it is complete."""
    import fsspec

    files, path = fsspec.core.url_to_fs(url)
    partial = str(PurePosixPath(path).with_name(f".{PurePosixPath(path).name}.partial"))
    try:
        files.put_file(str(file), partial)
        files.mv(partial, path)
    except OSError as error:
        with suppress(OSError):
            files.rm_file(partial)
        raise ModelFileError(f"{url!r} cannot be written: {error.strerror or error}") from None


def _name(path: str) -> str:
    return PurePosixPath(path).name
