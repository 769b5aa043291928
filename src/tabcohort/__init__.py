"""Neural classifiers for tables that you can trust.

The public names are listed here and loaded when they are first used: importing `tabcohort` imports neither PyTorch
nor scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tabcohort.cohort.fit import fit
    from tabcohort.data.frames import table_from_frame, table_of_schema
    from tabcohort.data.sources import load_sample, read_frame
    from tabcohort.data.splits import Roles
    from tabcohort.data.table import Schema, Table, make_table
    from tabcohort.errors import (
        EngineError,
        ModelFileError,
        SettingsError,
        TabcohortError,
        TabcohortWarning,
        TableError,
        TrainingError,
    )
    from tabcohort.estimator import CohortClassifier
    from tabcohort.model.file import load, save
    from tabcohort.model.predictor import Prediction, Predictor
    from tabcohort.network.models import (
        MLP,
        Encode,
        LogisticRegression,
        ResidualMLP,
        SmoothClip,
        Standardize,
        build_model,
        draw_weights,
    )
    from tabcohort.settings import CohortSettings, Settings
    from tabcohort.training.module import Trained, train

__version__ = "0.1.0"

_HOMES = {
    "model.file": ("load", "save"),
    "cohort.fit": ("fit",),
    "errors": (
        "EngineError",
        "ModelFileError",
        "SettingsError",
        "TabcohortError",
        "TabcohortWarning",
        "TableError",
        "TrainingError",
    ),
    "estimator": ("CohortClassifier",),
    "data.sources": ("load_sample", "read_frame"),
    "data.frames": ("table_from_frame", "table_of_schema"),
    "network.models": (
        "MLP",
        "Encode",
        "LogisticRegression",
        "ResidualMLP",
        "SmoothClip",
        "Standardize",
        "build_model",
        "draw_weights",
    ),
    "training.module": ("Trained", "train"),
    "data.splits": ("Roles",),
    "model.predictor": ("Prediction", "Predictor"),
    "settings": ("CohortSettings", "Settings"),
    "data.table": ("Schema", "Table", "make_table"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "MLP",
    "CohortClassifier",
    "CohortSettings",
    "Encode",
    "EngineError",
    "LogisticRegression",
    "ModelFileError",
    "Prediction",
    "Predictor",
    "ResidualMLP",
    "Roles",
    "Schema",
    "Settings",
    "SettingsError",
    "SmoothClip",
    "Standardize",
    "TabcohortError",
    "TabcohortWarning",
    "Table",
    "TableError",
    "Trained",
    "TrainingError",
    "build_model",
    "draw_weights",
    "fit",
    "load",
    "load_sample",
    "make_table",
    "read_frame",
    "save",
    "table_from_frame",
    "table_of_schema",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tabcohort' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tabcohort.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
