"""MLflow: models are logged and loaded with a signature, and `autolog` logs every call of `fit`.

A logged model is a pyfunc model whose only data is a `.tabcohort` file (`tabcohort.model.file`): no pickle, no code.
MLflow imports this module to load it, so the extra `mlflow` must be installed where the model is used.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tabcohort import __version__
from tabcohort.cohort.fit import FIT_CALLBACKS
from tabcohort.cohort.plan import CohortPlan
from tabcohort.cohort.presets import configs_for
from tabcohort.data.frames import as_frame
from tabcohort.data.inputs import require_columns
from tabcohort.data.table import Schema
from tabcohort.errors import ModelFileError, warn_caller
from tabcohort.model.file import load, save
from tabcohort.model.predictor import Predictor
from tabcohort.settings import CohortSettings, Config, unused_names
from tabcohort.types import Label

try:
    import mlflow
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model, ModelSignature
    from mlflow.models.model import ModelInfo
    from mlflow.types import ColSpec, DataType
    from mlflow.types import Schema as MlflowSchema
    from mlflow.types.schema import AnyType
except ImportError as error:
    raise ImportError("MLflow needs an extra; install it with `pip install 'tabcohort[mlflow]'`") from error

# Of a model's columns. MLflow refuses integers for `double`, floats for `long`, and strings for `boolean` and
# `datetime`; models take all of these, so the type is Any.
TYPES = {
    "number": AnyType(),
    "integer code": AnyType(),
    "category": DataType.string,
    "boolean": AnyType(),
    "date": AnyType(),
    "text": DataType.string,
}
TYPES_OF_CELLS = {  # of an example's columns, by what pandas calls them
    "boolean": DataType.boolean,
    "integer": DataType.long,
    "floating": DataType.double,
    "datetime64": DataType.datetime,
    "string": DataType.string,
}
DEFAULTS = Config().to_dict()


def log_model(
    predictor: Any,
    name: str = "model",
    *,
    input_example: Any = None,
    signature: ModelSignature | None = None,
    pip_requirements: Sequence[str] | None = None,
    registered_model_name: str | None = None,
) -> ModelInfo:
    """Log a model to the active run, which is started where there is none.

    Args:
        predictor: a `Predictor`, or a fitted `CohortClassifier`.
        name: of the logged model.
        input_example: a few rows that are kept with the model, as a pandas or polars frame: its features, or more.
        signature: as `make_signature` gives it when omitted.
        pip_requirements: of the model; this version of `tabcohort[mlflow]` when omitted.
        registered_model_name: the model is registered as a new version of this name, if one is given.

    Returns:
        MLflow's description of the model; `load_model` and `mlflow.pyfunc.load_model` take its `model_uri`.

    Raises:
        TabcohortError: it is no model, or the example lacks a feature.
    """
    own = getattr(predictor, "predictor_", predictor)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*input example was not provided")  # the signature does not need one
        path = Path(folder, "model.tabcohort")
        save(own, path)
        example = None if input_example is None else _features_of(input_example, own.schema)
        return mlflow.pyfunc.log_model(
            name=name,
            loader_module=__name__,
            data_path=str(path),
            input_example=example,
            signature=make_signature(own, example) if signature is None else signature,
            pip_requirements=list(pip_requirements or [f"tabcohort[mlflow]=={__version__}"]),
            registered_model_name=registered_model_name,
            metadata={"columns": {column.name: column.describe() for column in own.schema.columns}},
        )


def load_model(model_uri: str) -> Predictor:
    """Return the predictor that `log_model` or `autolog` logged.

    Args:
        model_uri: where it is, such as `models:/m-...`, `models:/NAME/VERSION` or `runs:/RUN_ID/model`.

    Raises:
        ModelFileError: it is a model, but not one of ours.
    """
    folder = Path(mlflow.artifacts.download_artifacts(artifact_uri=model_uri))
    flavor = Model.load(folder).flavors.get(mlflow.pyfunc.FLAVOR_NAME, {})
    if flavor.get(mlflow.pyfunc.MAIN) != __name__:
        raise ModelFileError(f"{model_uri!r} was not logged by tabcohort.mlflow; load it with mlflow.pyfunc.load_model")
    return load(folder / flavor[mlflow.pyfunc.DATA])


def make_signature(predictor: Predictor, example: pd.DataFrame | None = None) -> ModelSignature:
    """Return a signature: the columns that a model needs, and those of its predictions.

    All columns are required, as everywhere else: a column that was renamed would otherwise be missing in all rows, and
    nobody would notice. A missing cell is null.

    Args:
        predictor: the model.
        example: rows whose types the columns have; those of the model's schema when omitted.
    """
    schema = predictor.schema
    types = {column.name: TYPES[column.kind] for column in schema.columns}
    if example is not None:
        held = {name: pd.api.types.infer_dtype(example[name]) for name in types}
        types |= {name: TYPES_OF_CELLS[kind] for name, kind in held.items() if kind in TYPES_OF_CELLS}
    inputs = [ColSpec(types[column.name], column.name) for column in schema.columns]
    outputs = [ColSpec(_type_of_label(schema.classes[0]), "predicted")]
    outputs += [ColSpec(DataType.double, name) for name in predictor.probability_names()]
    return ModelSignature(MlflowSchema(inputs), MlflowSchema(outputs))


def _type_of_label(label: Label) -> DataType:
    types = {bool: DataType.boolean, int: DataType.long, float: DataType.double}
    return types.get(type(label), DataType.string)


def _features_of(data: Any, schema: Schema) -> pd.DataFrame:
    """Return the features of a frame as pandas; what pandas calls a category, and MLflow does not know, is text."""
    frame = data if isinstance(data, pd.DataFrame) else as_frame(data).to_pandas()
    require_columns(schema.features, list(frame.columns))
    frame = frame[list(schema.features)]
    return frame.astype({name: object for name, dtype in frame.dtypes.items() if dtype == "category"})


class _PyfuncModel:
    """What MLflow calls to predict."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Return the predicted class and the probability of each, with the index of the rows."""
        predictions = self.predictor.predict_frame(as_frame(model_input), columns=[])
        named = predictions.select("predicted", *self.predictor.probability_names())
        return named.to_pandas().set_index(model_input.index)


def _load_pyfunc(data_path: str) -> _PyfuncModel:
    """Return the model of a file, for MLflow."""
    return _PyfuncModel(load(data_path))


# -- autologging -----------------------------------------------------------------------------------------------------


def autolog(*, log_models: bool = True, disable: bool = False) -> None:
    """Log every call of `fit` from now on: its settings, its out-of-fold metrics with their intervals, and the model.

    It is logged to the active run, or to a run of its own where there is none. An error of the tracking server
    is a warning, as the model is there.

    Args:
        log_models: whether the model is logged, too.
        disable: log nothing from now on.
    """
    FIT_CALLBACKS[:] = [callback for callback in FIT_CALLBACKS if not isinstance(callback, _Autologger)]
    if not disable:
        FIT_CALLBACKS.append(_Autologger(log_models))


class _Autologger:
    """Logs a finished call of `fit`."""

    def __init__(self, log_models: bool) -> None:
        self._log_models = log_models

    def __call__(self, plan: CohortPlan, predictor: Predictor) -> None:
        """Log it.

        Warns:
            TabcohortWarning: something was not logged.
        """
        try:
            with mlflow.start_run() if mlflow.active_run() is None else contextlib.nullcontext():
                model_id = log_model(predictor).model_id if self._log_models else None
                mlflow.log_metrics(metrics_of(predictor), model_id=model_id)
                mlflow.set_tag("tabcohort.fingerprint", predictor.report.fingerprint)
                mlflow.log_params(parameters_of(plan))  # last, as a run that has others refuses them
        except Exception as error:  # whatever the tracking server says, the model must not be lost
            warn_caller(f"the model was trained, but not all of it was logged to MLflow: {error}")


def metrics_of(predictor: Predictor) -> dict[str, float]:
    """Return the out-of-fold metrics by name, their 95 % intervals as `NAME_low` and `NAME_high`, and `fit_seconds`."""
    report = predictor.report
    values = {"fit_seconds": report.fit_seconds}
    for name, estimate in report.evaluation.metrics.items():
        values |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return {name: value for name, value in values.items() if math.isfinite(value)}


def parameters_of(plan: CohortPlan) -> dict[str, Any]:
    """Return the sizes of a cohort, its preset ("none" if it is none), and the settings that are not the defaults.

    Of several configs, these are the settings that all of them use and have in common.
    """
    table, settings, configs = plan.table, plan.settings, [config.to_dict() for config in plan.configs]
    unused = set().union(*map(unused_names, plan.configs))
    common = {name: value for name, value in configs[0].items() if all(own[name] == value for own in configs)}
    changed = {name: value for name, value in common.items() if name not in unused and value != DEFAULTS[name]}
    changed |= {name: value for name, value in vars(settings).items() if value != getattr(CohortSettings(), name)}
    return {
        **changed,
        "preset": settings.preset if _is_preset(plan) else "none",
        "n_rows": len(table.y),
        "n_features": len(table.schema.columns),
        "n_configs": len(configs),
        "n_folds": plan.splitters[0].n_folds,
        "n_seeds": len(plan.splitters),
    }


def _is_preset(plan: CohortPlan) -> bool:
    """Return whether the configs are those of the preset in the settings."""
    settings = plan.settings
    if settings.preset is None:
        return False
    return list(plan.configs) == configs_for(plan.table, settings.preset, plan.configs[0], settings.kinds)
