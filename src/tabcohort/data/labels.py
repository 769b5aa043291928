"""Findings, which are worth knowing of a table before training, and those that the labels of its target give."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabcohort.data.columns import shortened
from tabcohort.data.parse import MISSING_WORDS
from tabcohort.errors import listed
from tabcohort.types import FloatArray

MAX_NUMERIC_CLASSES = 20  # more different numbers than this are a measurement or a count, not classes
MIN_ROWS_OF_A_CLASS = 5  # on average, where there are many classes
MAX_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """Something in a table worth knowing before training.

    Args:
        kind: "target", "afterwards", "duplicates", "group", "order", "row number", "identifier", "sentinel",
            "spelling" or "classes".
        columns: that it is about; none where it is about the rows.
        message: what was detected, with its evidence.
        evidence: the figures in the message, by name.
        remedy: the option or the edit that handles it.
    """

    kind: str
    columns: tuple[str, ...]
    message: str
    evidence: dict[str, Any]
    remedy: str

    def __str__(self) -> str:
        return f"{self.message}: {self.remedy}"


def label_findings(target: str, classes: Sequence[str], counts: NDArray[Any]) -> list[Finding]:
    """Return what is worth knowing of a target's labels.

    Args:
        target: name of the column.
        classes: the distinct labels.
        counts: number of rows of each, `(n_classes,)`.
    """
    n_classes, per_class = len(classes), float(np.mean(counts))
    evidence = {"n_classes": n_classes, "rows_per_class": per_class}
    findings = []
    if many_whole_numbers(classes) is not None:
        message = f"{target!r} has {n_classes:,} different whole numbers, which look like counts or measurements"
        remedy = "a classifier ignores their order; divide them into bins, unless each of them is a class"
        findings.append(Finding("classes", (target,), message, evidence, remedy))
    elif n_classes > MAX_NUMERIC_CLASSES and per_class < MIN_ROWS_OF_A_CLASS:
        message = f"{target!r} has {n_classes:,} classes with {per_class:.1f} rows each on average"
        remedy = "these are too few to learn from, and training is slow; merge classes, or choose another target"
        findings.append(Finding("classes", (target,), message, evidence, remedy))
    findings += spelling_findings(target, classes)
    missing = {label: int(n) for label, n in zip(classes, counts, strict=True) if label.lower() in MISSING_WORDS}
    if missing:
        examples = listed([f"{shortened(label)} in {n:,} rows" for label, n in missing.items()], MAX_EXAMPLES)
        message = f"{target!r} has classes that may stand for a missing target ({examples})"
        remedy = "if so, leave these cells empty"
        findings.append(Finding("classes", (target,), message, {"n_rows": sum(missing.values())}, remedy))
    return findings


def spelling_findings(name: str, levels: Sequence[str]) -> list[Finding]:
    """Return the finding that levels of a column differ only in case, space or Unicode form, if any do."""
    pairs = same_but_for_spelling(levels)
    if not pairs:
        return []
    examples = listed([" and ".join(map(shortened, pair)) for pair in pairs], MAX_EXAMPLES, "; ")
    message = f"{name!r} has levels that differ only in case, space or Unicode form ({examples})"
    return [Finding("spelling", (name,), message, {"n": len(pairs)}, "spell them the same if they mean the same")]


def same_but_for_spelling(levels: Sequence[str]) -> list[list[str]]:
    """Return the levels that differ only in case, space or Unicode form, those that are alike in one list."""
    folded: dict[str, list[str]] = defaultdict(list)
    for level in levels:
        folded[" ".join(unicodedata.normalize("NFKC", level).casefold().split())].append(level)
    return [same for same in folded.values() if len(same) > 1]


def many_whole_numbers(classes: Any) -> FloatArray | None:
    """Return distinct labels as numbers if they are whole, and more than classes usually are; None otherwise.

    Args:
        classes: the distinct labels, numbers or text, `(n_classes,)`.
    """
    if len(classes) <= MAX_NUMERIC_CLASSES:
        return None
    try:
        numbers = np.asarray(classes).astype(np.float64)
    except (TypeError, ValueError):
        return None
    return numbers if np.isfinite(numbers).all() and (numbers % 1 == 0).all() else None
