"""Trustworthy classifiers for tables.

The public names are listed here and loaded when they are first used: importing `tabcohort` imports neither PyTorch nor
scikit-learn.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tabcohort.cluster.ray_executor import RayExecutor
    from tabcohort.cohort.fit import fit
    from tabcohort.cohort.learning_curve import LearningCurve, learning_curve
    from tabcohort.cohort.progress import RunProgress
    from tabcohort.cohort.search import grid, random_configs
    from tabcohort.data.columns import Column
    from tabcohort.data.frames import ColumnChoices
    from tabcohort.data.sources import load_sample, read_frame
    from tabcohort.data.splits import Split
    from tabcohort.data.stream_table import StoreOptions, stream_table
    from tabcohort.data.table import Schema, Table
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
    from tabcohort.evaluation.decision import DecisionRule
    from tabcohort.evaluation.evaluate import Evaluation
    from tabcohort.evaluation.intervals import Estimate
    from tabcohort.evaluation.out_of_fold import OutOfFoldPredictions
    from tabcohort.evaluation.prediction_sets import SetEvaluation
    from tabcohort.live.live_server import LivePage
    from tabcohort.live.recording import TrainingRecorder
    from tabcohort.model.comparison import ModelComparison, compare
    from tabcohort.model.explain import Explanation
    from tabcohort.model.explainer import ExplanationProgress
    from tabcohort.model.file import load, save
    from tabcohort.model.monitor import monitor
    from tabcohort.model.predictor import Prediction, Predictor
    from tabcohort.model.report import CohortReport, ConfigReport, MemberReport
    from tabcohort.model.shapley import ExplanationBudget
    from tabcohort.network.lower import lower, to_module
    from tabcohort.network.models import (
        MLP,
        Encode,
        LogisticRegression,
        ResidualMLP,
        SmoothClip,
        Standardize,
        build_model,
        initialize_weights,
    )
    from tabcohort.network.program import Network, Program, build_program
    from tabcohort.reporting.displays import (
        CalibrationDisplay,
        ConfusionMatrixDisplay,
        DecisionCurveDisplay,
        PrecisionRecallDisplay,
        RocCurveDisplay,
        TrainingDisplay,
    )
    from tabcohort.settings import CohortSettings, Config
    from tabcohort.training.loop import EpochRecord, TrainingState
    from tabcohort.training.module import Trained, train
    from tabcohort.training.observer import TrainingObserver

__version__ = "0.1.0"

_HOMES = {
    "cluster.ray_executor": ("RayExecutor",),
    "cohort.fit": ("fit",),
    "cohort.learning_curve": ("LearningCurve", "learning_curve"),
    "cohort.progress": ("RunProgress",),
    "cohort.search": ("grid", "random_configs"),
    "data.columns": ("Column",),
    "data.frames": ("ColumnChoices",),
    "data.sources": ("load_sample", "read_frame"),
    "data.splits": ("Split",),
    "data.stream_table": ("StoreOptions", "stream_table"),
    "data.table": ("Schema", "Table"),
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
    "evaluation.decision": ("DecisionRule",),
    "evaluation.evaluate": ("Evaluation",),
    "evaluation.intervals": ("Estimate",),
    "evaluation.out_of_fold": ("OutOfFoldPredictions",),
    "evaluation.prediction_sets": ("SetEvaluation",),
    "live.live_server": ("LivePage",),
    "live.recording": ("TrainingRecorder",),
    "model.comparison": ("ModelComparison", "compare"),
    "model.explain": ("Explanation",),
    "model.explainer": ("ExplanationProgress",),
    "model.file": ("load", "save"),
    "model.monitor": ("monitor",),
    "model.predictor": ("Prediction", "Predictor"),
    "model.report": ("CohortReport", "ConfigReport", "MemberReport"),
    "model.shapley": ("ExplanationBudget",),
    "network.lower": ("lower", "to_module"),
    "network.models": (
        "MLP",
        "Encode",
        "LogisticRegression",
        "ResidualMLP",
        "SmoothClip",
        "Standardize",
        "build_model",
        "initialize_weights",
    ),
    "network.program": ("Network", "Program", "build_program"),
    "reporting.displays": (
        "ConfusionMatrixDisplay",
        "DecisionCurveDisplay",
        "PrecisionRecallDisplay",
        "CalibrationDisplay",
        "RocCurveDisplay",
        "TrainingDisplay",
    ),
    "settings": ("CohortSettings", "Config"),
    "training.loop": ("EpochRecord", "TrainingState"),
    "training.module": ("Trained", "train"),
    "training.observer": ("TrainingObserver",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "MLP",
    "CalibrationDisplay",
    "CohortClassifier",
    "CohortReport",
    "CohortSettings",
    "Column",
    "ColumnChoices",
    "Config",
    "ConfigReport",
    "ConfusionMatrixDisplay",
    "DecisionCurveDisplay",
    "DecisionRule",
    "Encode",
    "EngineError",
    "EpochRecord",
    "Estimate",
    "Evaluation",
    "Explanation",
    "ExplanationBudget",
    "ExplanationProgress",
    "LearningCurve",
    "LivePage",
    "LogisticRegression",
    "MemberReport",
    "ModelComparison",
    "ModelFileError",
    "Network",
    "OutOfFoldPredictions",
    "PrecisionRecallDisplay",
    "Prediction",
    "Predictor",
    "Program",
    "RayExecutor",
    "ResidualMLP",
    "RocCurveDisplay",
    "RunProgress",
    "Schema",
    "SetEvaluation",
    "SettingsError",
    "SmoothClip",
    "Split",
    "Standardize",
    "StoreOptions",
    "TabcohortError",
    "TabcohortWarning",
    "Table",
    "TableError",
    "Trained",
    "TrainingDisplay",
    "TrainingError",
    "TrainingObserver",
    "TrainingRecorder",
    "TrainingState",
    "build_model",
    "build_program",
    "compare",
    "fit",
    "grid",
    "initialize_weights",
    "learning_curve",
    "load",
    "load_sample",
    "lower",
    "monitor",
    "random_configs",
    "read_frame",
    "save",
    "stream_table",
    "to_module",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'tabcohort' has no attribute {name!r}")
    return getattr(importlib.import_module(f"tabcohort.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
