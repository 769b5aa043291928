"""What can go wrong: the errors, and the warning.

    TabcohortError              the root: the command line catches this one and exits with status 2
    ├── TableError              a file, frame or array that cannot be trained on or predicted for
    │   └── CellError           the same, where the message shows a cell
    ├── SettingsError           a setting that does not exist or is out of range
    ├── TrainingError           training cannot start, or its loss stopped being finite
    ├── ModelFileError          a file that is damaged, cut, or not one of ours
    └── EngineError             a module that an engine cannot run

    TabcohortWarning            something was done that the user would want to know

All errors are `ValueError`s too, so that scikit-learn's tools treat them as bad input. Each message is a sentence or
two: what must hold, what came instead, where, and what to do.
"""

from __future__ import annotations

import difflib
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

# Control characters, ends of lines and paragraphs, marks that change the direction of writing, and halves of pairs.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class TabcohortError(ValueError):
    """The root of every error that the user can fix."""


class TableError(TabcohortError):
    """A file, frame or array that cannot be trained on or predicted for."""


class CellError(TableError):
    """A table that cannot be used for what is in a cell.

    Args:
        message: what is wrong, with the cell.
        without_cell: the same without it, for places that must not repeat what they were sent.
    """

    def __init__(self, message: str, without_cell: str = "a cell of the table cannot be used") -> None:
        super().__init__(message)
        self.without_cell = without_cell

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.without_cell)


class SettingsError(TabcohortError):
    """A setting that does not exist or is out of range."""


class TrainingError(TabcohortError):
    """Training cannot start, or its loss stopped being finite."""


class ModelFileError(TabcohortError):
    """A file that is damaged, cut, or not one of ours."""


class EngineError(TabcohortError):
    """A module that an engine cannot run."""


class TabcohortWarning(UserWarning):
    """Something was done that the user would want to know."""


def nearest(name: str, names: Iterable[str], min_similarity: float = 0.6, question: str = "did you mean") -> str:
    """Return " (did you mean 'x'?)" for the closest of `names`, or an empty string when none is close.

    Args:
        name: that is not there.
        names: that are, compared without regard to capitals and to blanks around them.
        min_similarity: of the name that is offered, from 0 to 1: the share of the characters that both have in common.
        question: before the name that is offered.
    """
    by_folded: dict[str, str] = {}
    for own in names:
        by_folded.setdefault(own.casefold().strip(), own)
    close = difflib.get_close_matches(name.casefold().strip(), list(by_folded), n=1, cutoff=min_similarity)
    return f" ({question} {by_folded[close[0]]!r}?)" if close else ""


def listed(names: Iterable[Any], max_names: int, separator: str = ", ") -> str:
    """Return the first of `names` as text, and how many more there are.

    Examples:
        >>> listed(["a", "b", "c", "d"], 2)
        'a, b and 2 more'
    """
    texts = [str(name) for name in names]
    n_more = len(texts) - max_names
    return separator.join(texts[:max_names]) + (f" and {n_more:,} more" if n_more > 0 else "")


def first_line(error: BaseException) -> str:
    """Return the first line of what an error says, or the name of its class if it says nothing.

    Examples:
        >>> first_line(OSError("no answer\\n  in step 2")), first_line(TypeError())
        ('no answer', 'TypeError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def warn_caller(message: str) -> None:
    """Warn by a `TabcohortWarning` of the line that called this package, however deep in it this is."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] == "tabcohort":
        frame, level = frame.f_back, level + 1
    warnings.warn(message, TabcohortWarning, stacklevel=level)


def printable(value: Any) -> Any:
    r"""Return text as it may be shown on a terminal: names, labels and cells can hold escape sequences and newlines.

    Args:
        value: text, whose control characters are escaped; a list, tuple or mapping of values, which are treated alike;
            anything else, which is returned as it is.

    Examples:
        >>> printable({"classes": ("no", "y\x1b[2Jes")})
        {'classes': ['no', 'y\\x1b[2Jes']}
    """
    if isinstance(value, str):
        return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), value)
    if isinstance(value, Mapping):
        return {printable(name): printable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [printable(item) for item in value]
    return value
