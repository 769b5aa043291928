"""What can go wrong: the errors, and the warning.

    TabcohortError              the root: the command line catches this one and exits with status 2
    ├── TableError              a file, frame or array that cannot be trained on or predicted for
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
from collections.abc import Iterable


class TabcohortError(ValueError):
    """The root of every error that the user can fix."""


class TableError(TabcohortError):
    """A file, frame or array that cannot be trained on or predicted for."""


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


def nearest(name: str, names: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest of `names`, or an empty string when none is close."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
