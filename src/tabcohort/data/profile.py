"""What `look` knows of a table before training: one dictionary, from which the terminal and the page are made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from tabcohort.data import parse
from tabcohort.data.audit import audit
from tabcohort.data.columns import (
    MICROSECONDS_PER_DAY,
    ONE_HOT_LEVELS,
    Boolean,
    Category,
    Column,
    Date,
    Dropped,
    IntegerCode,
    Number,
    Text,
)
from tabcohort.data.copies import without_copies_of_target
from tabcohort.data.frames import ColumnChoices, check_choices, single_row_messages, target_labels
from tabcohort.data.labels import Finding
from tabcohort.data.parquet_files import ReadingCallback, ignore
from tabcohort.data.recognize import columns_and_problems
from tabcohort.errors import TableError, listed
from tabcohort.types import FloatArray

if TYPE_CHECKING:
    import polars as pl

N_BINS = 16
N_LEVELS = 5  # that are named, of a category
MAX_LABEL = 60  # characters of a label that are kept


def look_facts(
    frame: pl.DataFrame,
    target: str | None = None,
    choices: ColumnChoices | None = None,
    callback: ReadingCallback = ignore,
) -> dict[str, Any]:
    """Return what a table holds, and what would be done with it, as plain JSON values; what is unknown is null.

    Args:
        frame: the rows.
        target: the column to predict; without it there are no findings.
        choices: what is said of the columns.
        callback: as for `audit`.

    Returns:
        `n_rows`, `n_columns`, `n_features`;
        `target`: null, or its `name`, `n_missing`, `classes` (`label`, `n` and `share` of each, the most frequent
        first) and `problem`, null or why it cannot be predicted;
        `columns`: for each `name`; `role`: "feature", "target", "key", "group", "time", "weight", "dropped" or
        "unreadable"; `type`: as `--settings` takes it, or null; `missing_share`, `n_missing`; `n_distinct` values;
        `distribution`: null, or `bins`, the number of cells in equal parts of the range (of a text's length), with its
        `low` and `high` end, or `levels`, the `label` and `share` of the most frequent, and `n_more`;
        `treatment`: what would be done with it; `note`: what was decided, or is wrong; `findings`: places in the list
        of findings that name it;
        `findings`: `kind`, `columns`, `message`, `evidence` and `remedy` of each.

    Raises:
        TableError: a named column is not there, or is named for two things.
    """
    choices = choices or ColumnChoices()
    check_choices(frame, target, choices)
    names = [name for name in frame.columns if name != target and name not in choices.reserved]
    columns, problems = columns_and_problems(frame, names, choices.types)
    findings: tuple[Finding, ...] = ()
    target_facts = None
    if target is not None:
        target_facts, labels, has_target = _target_facts(frame, target)
        if target_facts["problem"] is None:
            rows = frame if has_target.all() else frame.filter(has_target)
            columns = without_copies_of_target(rows, columns, target, labels[has_target])
            findings = audit(frame, target, columns, choices, callback)
    recognized = {column.name: column for column in columns}
    notes = {problem.name: f"{problem.message}; {problem.remedy}" for problem in problems}
    facts = [
        column_facts(series, recognized.get(name), _role(name, target, choices), notes.get(name, ""))
        for name, series in frame.to_dict().items()
    ]
    for column in facts:
        column["findings"] = [place for place, finding in enumerate(findings) if column["name"] in finding.columns]
    return {
        "n_rows": len(frame),
        "n_columns": len(frame.columns),
        "n_features": sum(column["role"] == "feature" for column in facts),
        "target": target_facts,
        "columns": facts,
        "findings": [{**vars(finding), "columns": list(finding.columns)} for finding in findings],
    }


def _role(name: str, target: str | None, choices: ColumnChoices) -> str | None:
    """Return what a column is for, if it is named for something other than a feature."""
    roles: dict[str | None, str] = {choices.time: "time", choices.weight: "weight", target: "target"}
    roles.update(dict.fromkeys(choices.groups, "group") | dict.fromkeys(choices.keys, "key"))
    return roles.get(name)


def _target_facts(frame: pl.DataFrame, target: str) -> tuple[dict[str, Any], Any, Any]:
    """Return the facts of the target, its labels, and which rows have one."""
    import polars as pl

    facts: dict[str, Any] = {"name": target, "n_missing": frame[target].null_count(), "classes": [], "problem": None}
    try:
        labels, has_target = target_labels(frame, target)
    except TableError as error:
        return {**facts, "problem": str(error)}, None, None
    counts = pl.Series("label", labels[has_target], dtype=pl.String).value_counts(name="n").sort("label")
    classes = counts.sort(["n", "label"], descending=[True, False]).to_dicts()
    facts["n_missing"] = int((~has_target).sum())
    facts["classes"] = [{**entry, "share": entry["n"] / int(has_target.sum())} for entry in classes]
    if len(classes) < 2:
        facts["problem"] = (
            f"there must be at least two classes in {target!r}; there is {'one' if len(classes) else 'none'}"
        )
    elif problems := single_row_messages(counts["label"].to_numpy(), counts["n"].to_numpy(), target):
        facts["problem"] = "; ".join(problems)
    return facts, labels, has_target


def column_facts(series: pl.Series, column: Column | None, role: str | None, note: str) -> dict[str, Any]:
    """Return what `look_facts` gives for a column, but for its findings.

    Args:
        series: its cells.
        column: what they are read as; None where they are not.
        role: what it is for, if that is something other than a feature.
        note: of a column that is not read.
    """
    if parse.has_no_single_values(series):
        counts, n_missing, distribution, n_distinct = None, series.null_count(), None, None
    else:
        counts = series.alias("cell").value_counts(name="n")
        cells, n_rows = counts["cell"].alias(series.name), counts["n"].to_numpy().astype(np.float64)
        n_missing, n_distinct, distribution = _distribution(cells, n_rows, column)
    if role is None:
        role = "unreadable" if column is None else "dropped" if isinstance(column, Dropped) else "feature"
    kind = None if column is None else "drop" if isinstance(column, Dropped) else column.kind
    return {
        "name": series.name,
        "role": role,
        "type": kind,
        "n_missing": n_missing,
        "missing_share": n_missing / len(series) if len(series) else 0.0,
        "n_distinct": n_distinct,
        "distribution": distribution,
        "treatment": _TREATMENTS.get(role, "") if column is None else treatment(column),
        "note": note if column is None else "; ".join(filter(None, (column.note, _missing_words_note(column, counts)))),
    }


def _missing_words_note(column: Column, counts: pl.DataFrame | None) -> str:
    """Return which levels of a category may stand for a missing cell, the most frequent first.

    Args:
        column: of the cells.
        counts: the distinct cells, and the number `n` of each; None where cells hold no single values.
    """
    import polars as pl

    if counts is None or not isinstance(column, Category):
        return ""
    levels = counts.with_columns(parse.as_text(counts["cell"]).alias("level")).drop_nulls("level")
    words = levels.filter(pl.col("level").str.to_lowercase().is_in(list(parse.MISSING_WORDS)))
    words = words.group_by("level").agg(pl.col("n").sum()).sort(["n", "level"], descending=[True, False])
    if not len(words):
        return ""
    names = listed([repr(level) for level in words["level"]], N_LEVELS)
    return f"levels that may stand for a missing value: {names}; if so, leave these cells empty in the file"


_TREATMENTS = {
    "target": "predicted",
    "key": "identifies rows; no feature",
    "group": "rows of one value stay together; no feature",
    "time": "tests on later rows; no feature",
    "weight": "how much each row counts; no feature",
    "unreadable": "cannot be read",
}


def treatment(column: Column) -> str:
    """Return what is done with a column, in a few words."""
    missing = "; missing: a mark and the median" if column.has_missing else ""
    n_levels = len(column.levels)
    if isinstance(column, Dropped):
        return "left out"
    levels = "a column per level" if n_levels <= ONE_HOT_LEVELS else "target shares, count and learned vector"
    if isinstance(column, IntegerCode):
        return f"standardized; {levels}{missing}"
    if isinstance(column, Number):
        return f"standardized{missing}"
    if isinstance(column, (Category, Boolean)):
        return levels + ("; missing: a level" if column.has_missing else "")
    if isinstance(column, Date):
        parts = "".join(f", {part}" for part in column.parts)
        return f"days{parts}{missing}"
    assert isinstance(column, Text)
    return f"length and {len(column.words)} frequent words{missing}"


def _distribution(
    cells: pl.Series, n_rows: FloatArray, column: Column | None
) -> tuple[int, int, dict[str, Any] | None]:
    """Return how many cells are missing, how many values there are, and how they are distributed.

    Args:
        cells: the distinct ones.
        n_rows: that have each, `(n_distinct,)`.
        column: what they are read as; None where they are not.
    """
    import polars as pl

    if isinstance(column, (Number, Date)):
        values = column.numbers(cells)[:, 0]
        known = np.isfinite(values)
        n_missing, n_distinct = int(n_rows[np.isnan(values)].sum()), len(np.unique(values[known]))
        return n_missing, n_distinct, _histogram(values[known], n_rows[known], isinstance(column, Date))
    text = parse.as_text(cells)
    if isinstance(column, (Boolean, Text)):
        text = parse.without_missing_words(text)
    levels = pl.DataFrame({"label": text, "n": n_rows}).group_by("label").agg(pl.col("n").sum())
    n_missing = int(levels.filter(pl.col("label").is_null())["n"].sum())
    levels = levels.drop_nulls().sort(["n", "label"], descending=[True, False])
    counts = levels["n"].to_numpy()
    if isinstance(column, Text):
        lengths = levels["label"].str.len_chars().cast(pl.Float64).to_numpy()
        return n_missing, len(levels), _histogram(lengths, counts, False)
    return n_missing, len(levels), _level_shares(levels["label"], counts)


def _level_shares(labels: pl.Series, counts: FloatArray) -> dict[str, Any] | None:
    if not len(labels) or counts[0] == 1:  # where all differ, none is worth showing
        return None
    shown = zip(labels.head(N_LEVELS).to_list(), (counts / counts.sum()).tolist(), strict=False)
    levels = [{"label": label[:MAX_LABEL], "share": share} for label, share in shown]
    return {"levels": levels, "n_more": len(labels) - len(levels)}


def _histogram(values: FloatArray, n_rows: FloatArray, are_days: bool) -> dict[str, Any] | None:
    """Return the number of rows in equal parts of the range; whole numbers have at most one part each."""
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    n_bins = min(N_BINS, len(np.unique(values)))
    # A range whose width overflows, or is lost in rounding, is shown as one part.
    is_wide = math.isfinite(high - low) and high - low > 1e-9 * max(abs(low), abs(high))
    bins = np.histogram(values, n_bins, (low, high), weights=n_rows)[0] if is_wide else np.array([n_rows.sum()])
    ends = [_day(end) for end in (low, high)] if are_days else [low, high]
    return {"bins": [int(count) for count in bins], "low": ends[0], "high": ends[1]}


def _day(days: float) -> str:
    """Return a number of days since 1970 as a date."""
    return str(np.datetime64(round(days * MICROSECONDS_PER_DAY), "us").astype("datetime64[D]"))


def columns_toml(facts: Mapping[str, Any], source: str) -> str:
    """Return the types that were decided as a settings file's table `[columns]`, to edit and hand to `fit --settings`.

    Args:
        facts: what `look_facts` gives.
        source: the table's name, for the comment.
    """
    lines = [
        f"# The columns of {_one_line(source)}. Edit the types, and hand this file to fit with --settings.",
        "[columns]",
    ]
    for column in facts["columns"]:
        if column["role"] in ("feature", "dropped", "unreadable"):
            note = f"  # {_one_line(column['note'])}" if column["note"] else ""
            lines.append(f"{_quoted(column['name'])} = {_quoted(column['type'] or 'drop')}{note}")
    return "\n".join(lines) + "\n"


def _one_line(text: str) -> str:
    """Return text without control characters, which a comment may not contain."""
    return "".join(character if character.isprintable() else " " for character in text)


def _quoted(text: str) -> str:
    """Return text as a basic string of TOML."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in escaped) + '"'
