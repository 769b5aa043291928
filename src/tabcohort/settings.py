"""Everything that can be chosen for a run, in two frozen dataclasses: configs and the settings of a cohort.

The same names serve Python (`Config(dropout=0.3)`), the estimator (`CohortClassifier(dropout=0.3)`) and a TOML file
(`dropout = 0.3`). Each field carries its rule; the estimator's scikit-learn constraints are made from the same rules,
so that a value is refused everywhere or nowhere.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from tabcohort.errors import SettingsError, nearest
from tabcohort.evaluation.metrics import METRICS

MAX_WIDTH, MAX_LAYERS = 10_000, 1_000  # units of a layer; hidden layers
MAX_SHOWN = 100  # characters of a value in a message
COLUMN_TYPES = ("number", "category", "boolean", "date", "text", "integer code", "drop")


@dataclass(frozen=True)
class Rule:
    """What a setting may be: one of some words, and/or a number in an interval, and/or None, and/or a special kind.

    Args:
        words: the strings that are allowed.
        number: `int`, `float`, `bool`, or None when no number is allowed.
        low, high: the bounds of the number; a bound is allowed itself unless it is marked open.
        none: whether None is allowed.
        special: "widths" (at most `MAX_LAYERS` integers from 1 to `MAX_WIDTH`), "class_weight" (a mapping of label to
            weight), "label" or "metric" (a name in `METRICS`).
    """

    words: tuple[str, ...] = ()
    number: type | None = None
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    none: bool = False
    special: str | None = None

    @property
    def allowed_words(self) -> tuple[str, ...]:
        """The strings that are allowed."""
        return tuple(METRICS) if self.special == "metric" else self.words

    def accepts(self, value: object) -> bool:
        """Return whether `value` is allowed."""
        if value is None:
            return self.none
        if isinstance(value, str):
            return value in self.allowed_words or self.special == "label"
        if isinstance(value, bool):
            return self.number is bool or self.special == "label"
        if self.special == "widths":
            return (
                isinstance(value, (tuple, list))
                and len(value) <= MAX_LAYERS
                and all(_is_integer(width) and 1 <= width <= MAX_WIDTH for width in value)
            )
        if self.special == "class_weight":
            return isinstance(value, Mapping) and all(_is_real(weight) and weight > 0 for weight in value.values())
        if self.special == "label":
            return _is_real(value)
        if self.number in (None, bool) or not (_is_integer(value) if self.number is int else _is_real(value)):
            return False
        return self._inside(value)  # type: ignore[arg-type]

    def describe(self) -> str:
        """Return the rule in words, to follow "must be"."""
        parts = [repr(word) for word in self.allowed_words]
        if self.number is bool:
            parts.append("True or False")
        elif self.number is not None:
            parts.append(self._describe_number())
        if self.special == "widths":
            parts.append(
                f"a sequence of at most {MAX_LAYERS:,} positive whole numbers such as (256, 128), "
                f"each at most {MAX_WIDTH:,}"
            )
        elif self.special == "class_weight":
            parts.append("a mapping of class label to positive weight")
        elif self.special == "label":
            parts.append("a class label")
        if self.none:
            parts.append("None")
        return " or ".join(parts)

    def _describe_number(self) -> str:
        is_bounded = self.high < math.inf
        kind = "a whole number" if self.number is int else "a number" if is_bounded else "a finite number"
        if not is_bounded:
            return f"{kind} {'above' if self.low_open else 'of at least'} {self.low:g}"
        left, right = "(" if self.low_open else "[", ")" if self.high_open else "]"
        return f"{kind} in {left}{self.low:g}, {self.high:g}{right}"

    def _inside(self, value: float) -> bool:  # not converted: the largest seed is not a float
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return above and below


def _plain(value: Any) -> Any:
    """Return NumPy's scalars, also those inside mappings, as the plain Python values that JSON can hold."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral)


def _is_real(value: object) -> bool:
    try:
        return isinstance(value, Real) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


AnySettings = TypeVar("AnySettings", "Config", "CohortSettings")


def _setting(default: Any, *words: str, **rule: Any) -> Any:
    return field(default=default, metadata={"rule": Rule(words=words, **rule)})


def unknown_message(name: str, known: Mapping[str, Rule]) -> str:
    """Return the message that a setting is not one of these."""
    for kind, what in ((CohortSettings, "a whole cohort"), (Config, "a config")):
        if name in rules(kind):
            return f"{name!r} is a setting of {what}: give it to {kind.__name__}, or as an option of the command line"
    return f"there is no setting {name!r}{nearest(name, known) or '; there are ' + ', '.join(known)}"


def _with_known_names(cls: type[AnySettings]) -> type[AnySettings]:
    """Refuse unknown keywords with our own error; everything else of the dataclass stays, its signature too."""
    init = cls.__init__

    @functools.wraps(init)
    def checked_init(self: AnySettings, *args: Any, **values: Any) -> None:
        known = rules(cls)
        for name in values:
            if name not in known:
                raise SettingsError(unknown_message(name, known))
        init(self, *args, **values)

    cls.__init__ = checked_init  # type: ignore[method-assign]
    return cls


@_with_known_names
@dataclass(frozen=True)
class Config:
    """One set of hyperparameters of networks or of boosted trees; the defaults suit a table of a few thousand rows.

    Args:
        model: "logistic", "mlp" (multilayer perceptron), "residual" (residual network) or "trees" (boosted trees).
        hidden: widths of the hidden layers or residual blocks; a logistic model has none.
        activation: between the layers of an mlp (a residual block always has ReLU): ReLU, leaky ReLU, GELU, SiLU, tanh,
            sigmoid, Mish (Misra 2020) or SELU (Klambauer et al. 2017).
        scaling: of numbers: "standard" (mean 0, standard deviation 1), "robust" (median and interquartile range, then
            x / sqrt(1 + (x / 3)^2), as in RealMLP, Holzmüller et al. 2024) or "quantile" (normal scores of the training
            rows' quantiles, linear between 64 knots and constant beyond them).
        bins: of the piecewise-linear encoding of each number (Gorishniy, Rubachev & Babenko 2022); 0 for none. A number
            with few distinct values has fewer.
        periodic: learned frequencies of each number, whose cosines are further inputs (Gorishniy, Rubachev & Babenko
            2022); 0 for none.
        periodic_scale: initial standard deviation of the frequencies.
        input_scale: whether each input of the first layer has a learned factor (as in RealMLP).
        dropout: probability that a hidden unit is set to zero in a training step.
        dropout_schedule: "constant", or "flat_cosine": constant for the first half of `max_epochs`, then along half a
            cosine to 0 (as in RealMLP).
        batch_norm: batch normalisation in the hidden layers of an mlp (a residual network always has it).
        weight_init: of linear layers: "glorot_uniform" (standard deviation sqrt(2 / (d_in + d_out)), Glorot & Bengio
            2010) or "lecun_normal" (standard deviation 1 / sqrt(d_in), as in RealMLP).
        class_weight: None, "balanced" (n_samples / (n_classes * count), as in scikit-learn) or {label: weight}.
        label_smoothing: share of each target that is spread evenly over all classes.
        optimizer: "sgd", "adam" (decay added to the gradient) or "adamw" (decoupled decay, Loshchilov & Hutter 2019).
        learning_rate: the schedule's base rate.
        bias_rate_factor: learning-rate factor of one-dimensional parameters but those of `input_scale`: biases, gains
            and shifts of normalisation, frequencies and phases (in RealMLP 0.1 for biases).
        scale_rate_factor: learning-rate factor of the parameters of `input_scale` (in RealMLP 6).
        momentum: of SGD.
        beta1: of Adam and AdamW (Kingma & Ba 2015).
        beta2: of Adam and AdamW.
        epsilon: of Adam and AdamW, added to the square root, not under it.
        weight_decay: on weight matrices only, never on biases and normalisation.
        decay_schedule: of the weight decay, as `dropout_schedule`.
        clip_norm: gradients with a larger global norm are scaled down to it; None does not clip.
        schedule: the learning rate of each epoch: "constant", "plateau" (times `schedule_factor` after more than
            `schedule_patience` epochs without a better validation score), "step" (times `schedule_factor` every
            `schedule_every` epochs), "exponential" (times `schedule_factor` every epoch), "cosine" (to zero at
            `max_epochs`), "one_cycle" (Smith & Topin 2018: up for 30 % of `max_epochs`, then down), "coslog4" (four
            cycles between 0 and the base rate, each longer than the one before, as in RealMLP) or "flat_cosine"
            (constant for the first half of `max_epochs`, then along half a cosine to 0).
        schedule_factor: what "plateau", "step" and "exponential" multiply the rate by.
        schedule_patience: epochs without a better validation score that "plateau" waits.
        schedule_every: epochs between the steps of "step".
        batch_size: rows per step; "full" is one step with all rows, 1 is one row at a time, "auto" is "full" up to 64
            different training rows, 32 up to 5,000, 128 up to 20,000 and 256 beyond.
        mixup_alpha: a mixed batch's weight is drawn from Beta(alpha, alpha) (Zhang et al. 2018); 0 is no mixup.
        mixup_probability: probability that a batch is mixed.
        max_leaf_nodes: of boosted trees: leaves of a tree at most.
        min_samples_leaf: of boosted trees: training rows of a leaf at least.
        max_features: of boosted trees: share of the columns that each split is chosen from.
        l2_regularization: of boosted trees: L2 penalty of leaf values, added to the sum of the hessians of a leaf.
        shrinkage: of boosted trees: learning rate of boosting, the factor of each tree's values.
        max_epochs: upper limit of passes over the training rows; for trees, of rounds, in each of which there is a tree
            for each logit.
        patience: training stops after this many epochs without a better validation score; None never stops early.
        monitor: the metric of the validation rows that early stopping, the best epoch and the plateau schedule use.
        validation_fraction: share of the rows that validate, at most one fold.
        test_fraction: share of the rows that test, where there are no folds.
        positive: label of the positive class of two; None is the last in sorted order.
        seed: of every random choice.
        engine: "compiled" (machine code, on a CPU, for the layers that `lower` knows), "torch", "batched" (all members
            of a config together, each operation one call of PyTorch), or "auto": compiled on a CPU where possible,
            PyTorch for other modules, and on an accelerator batched for a cohort.
        device: "cpu", "cuda", "mps", or "auto": an accelerator if a short trial shows that the engine is faster there.
        precision: of the products of the batched engine: "float32", or "bfloat16" by PyTorch's autocast.

    Raises:
        SettingsError: a name is unknown (the message offers the nearest one), or a value breaks its rule (the message
            says which and what is allowed).

    Examples:
        >>> Config(model="residual", dropout=0.3).hidden
        (256, 128)
    """

    model: str = _setting("mlp", "logistic", "mlp", "residual", "trees")
    hidden: tuple[int, ...] = _setting((256, 128), special="widths")
    activation: str = _setting("relu", "relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid", "mish", "selu")
    scaling: str = _setting("standard", "standard", "robust", "quantile")
    bins: int = _setting(0, number=int, low=0, high=1_000)
    periodic: int = _setting(0, number=int, low=0, high=100)
    periodic_scale: float = _setting(0.1, number=float, low=0, low_open=True)
    input_scale: bool = _setting(False, number=bool)
    dropout: float = _setting(0.1, number=float, low=0, high=1, high_open=True)
    dropout_schedule: str = _setting("constant", "constant", "flat_cosine")
    batch_norm: bool = _setting(False, number=bool)
    weight_init: str = _setting("glorot_uniform", "glorot_uniform", "lecun_normal")
    class_weight: str | Mapping[Any, float] | None = _setting(None, "balanced", none=True, special="class_weight")
    label_smoothing: float = _setting(0.0, number=float, low=0, high=1, high_open=True)
    optimizer: str = _setting("adamw", "sgd", "adam", "adamw")
    learning_rate: float = _setting(1e-3, number=float, low=0)
    bias_rate_factor: float = _setting(1.0, number=float, low=0)
    scale_rate_factor: float = _setting(1.0, number=float, low=0)
    momentum: float = _setting(0.9, number=float, low=0, high=1, high_open=True)
    beta1: float = _setting(0.9, number=float, low=0, high=1, high_open=True)
    beta2: float = _setting(0.999, number=float, low=0, high=1, high_open=True)
    epsilon: float = _setting(1e-8, number=float, low=0, low_open=True)
    weight_decay: float = _setting(3e-4, number=float, low=0)
    decay_schedule: str = _setting("constant", "constant", "flat_cosine")
    clip_norm: float | None = _setting(None, number=float, low=0, low_open=True, none=True)
    schedule: str = _setting(
        "constant", "constant", "plateau", "step", "exponential", "cosine", "one_cycle", "coslog4", "flat_cosine"
    )
    schedule_factor: float = _setting(0.5, number=float, low=0, high=1, low_open=True)
    schedule_patience: int = _setting(5, number=int, low=0)
    schedule_every: int = _setting(20, number=int, low=1)
    batch_size: int | str = _setting("auto", "auto", "full", number=int, low=1)
    mixup_alpha: float = _setting(0.0, number=float, low=0)
    mixup_probability: float = _setting(0.5, number=float, low=0, high=1)
    max_leaf_nodes: int = _setting(31, number=int, low=2, high=10_000)
    min_samples_leaf: int = _setting(20, number=int, low=1)
    max_features: float = _setting(1.0, number=float, low=0, high=1, low_open=True)
    l2_regularization: float = _setting(0.0, number=float, low=0)
    shrinkage: float = _setting(0.1, number=float, low=0, high=1, low_open=True)
    max_epochs: int = _setting(400, number=int, low=1)
    patience: int | None = _setting(16, number=int, low=1, none=True)
    monitor: str = _setting("log_loss", special="metric")
    validation_fraction: float = _setting(0.16, number=float, low=0, high=1, low_open=True, high_open=True)
    test_fraction: float = _setting(0.2, number=float, low=0, high=1, low_open=True, high_open=True)
    positive: str | float | bool | None = _setting(None, none=True, special="label")
    seed: int = _setting(0, number=int, low=0, high=2**63 - 1)
    engine: str = _setting("auto", "auto", "torch", "compiled", "batched")
    device: str = _setting("auto", "auto", "cpu", "cuda", "mps")
    precision: str = _setting("float32", "float32", "bfloat16")

    def __post_init__(self) -> None:
        _check_rules(self)
        if self.validation_fraction + self.test_fraction >= 1:
            raise SettingsError(
                "the settings 'validation_fraction' and 'test_fraction' must leave rows to train on: their sum is "
                f"{self.validation_fraction + self.test_fraction:g}, make it less than 1"
            )
        object.__setattr__(self, "hidden", tuple(int(width) for width in self.hidden))

    @property
    def lower_is_better(self) -> bool:
        """Whether a smaller value of the monitored metric is better."""
        return METRICS[self.monitor].lower_is_better

    def to_dict(self) -> dict[str, Any]:
        """Return the config as plain JSON values."""
        values = dataclasses.asdict(self)
        values["hidden"] = list(self.hidden)
        if isinstance(self.class_weight, Mapping):  # JSON has no mappings from labels that are not strings
            values["class_weight"] = [[label, weight] for label, weight in self.class_weight.items()]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Config:
        """Return a config of the values that `to_dict` gives, or of any mapping of names to values.

        Raises:
            SettingsError: a name is unknown (the message offers the nearest one) or a value breaks its rule.
        """
        values = dict(values)
        if isinstance(values.get("class_weight"), list):
            try:
                values["class_weight"] = dict(values["class_weight"])
            except (TypeError, ValueError):
                raise SettingsError("the setting 'class_weight' must be a table of label = weight") from None
        return cls(**values)

    @classmethod
    def from_toml(cls, path: str | Path, **overrides: Any) -> Config:
        """Read a config from a TOML file; `overrides` that are not None take precedence.

        The types of columns that the file may hold are no part of it; see `read_settings`.

        Raises:
            SettingsError: the file is missing, is not TOML, or holds a setting that is unknown or out of range.
        """
        values, _ = read_settings(path)
        values.update({name: value for name, value in overrides.items() if value is not None})
        return cls.from_dict(values)


def unused_names(config: Config) -> set[str]:
    """Return the names of the settings that a config's model and its training do not use, whatever their values are.

    Examples:
        >>> sorted(unused_names(Config(model="logistic")) - unused_names(Config()))
        ['activation', 'batch_norm', 'dropout', 'dropout_schedule', 'hidden']
    """
    if config.model == "trees":
        return {field.name for field in dataclasses.fields(Config)} - OF_TREES
    names = set(ONLY_OF_TREES)
    if config.model == "logistic":
        names |= {"hidden", "activation", "dropout", "batch_norm"}
    elif not config.hidden:
        names |= {"activation", "dropout", "batch_norm"}
    elif config.model == "residual":
        names |= {"activation", "batch_norm"}
    names |= {"beta1", "beta2", "epsilon"} if config.optimizer == "sgd" else {"momentum"}
    if config.periodic == 0:
        names.add("periodic_scale")
    if not config.input_scale:
        names.add("scale_rate_factor")
    if config.dropout == 0 or "dropout" in names:
        names.add("dropout_schedule")
    if config.weight_decay == 0:
        names.add("decay_schedule")
    names |= {name for name, schedules in _SCHEDULES_WITH.items() if config.schedule not in schedules}
    if config.mixup_alpha == 0:
        names.add("mixup_probability")
    return names


ONLY_OF_TREES = frozenset(("max_leaf_nodes", "min_samples_leaf", "max_features", "l2_regularization", "shrinkage"))
OF_TREES = ONLY_OF_TREES | {
    "model", "class_weight", "max_epochs", "patience", "monitor", "validation_fraction", "test_fraction", "positive",
    "seed",
}  # fmt: skip
_SCHEDULES_WITH = {
    "schedule_factor": ("plateau", "step", "exponential"),
    "schedule_patience": ("plateau",),
    "schedule_every": ("step",),
}


def without_unused(config: Config) -> Config:
    """Return the config with the default value of each setting that it does not use: equal models have equal ones."""
    defaults: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Config)}
    return dataclasses.replace(config, **{name: defaults[name] for name in unused_names(config)})


def read_settings(path: str | Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what a settings file holds: the settings of a config, and the types of columns by name.

    The types are its table `[columns]`, such as `zip = "category"` or `note = "drop"`.

    Raises:
        SettingsError: the file is missing, is not TOML, or gives a column a type that there is not.
    """
    values = read_toml(path, "settings file")
    types = values.pop("columns", {})
    if not isinstance(types, dict):
        raise SettingsError(
            f"'columns' in {str(path)!r} must be a table: [columns], then a line column = \"type\" each"
        )
    for name, kind in types.items():
        if kind not in COLUMN_TYPES:
            hint = nearest(kind, COLUMN_TYPES) if isinstance(kind, str) else ""
            raise SettingsError(
                f"the column {name!r} in {str(path)!r} cannot have the type {kind!r}{hint}; the types are "
                f"{', '.join(COLUMN_TYPES)}"
            )
    return values, types


def read_toml(path: str | Path, what: str) -> dict[str, Any]:
    """Return the contents of a TOML file.

    Args:
        path: the file.
        what: what messages call it.

    Raises:
        SettingsError: it is missing, or is not TOML.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"there is no {what} {str(path)!r}") from None
    except OSError as error:
        raise SettingsError(f"the {what} {str(path)!r} cannot be read: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the {what} {str(path)!r} is not valid TOML: {error}") from None


def rules(kind: Any = None) -> dict[str, Rule]:
    """Return the rule of every setting by name, in the order of the fields; those of `Config` when omitted."""
    return {field.name: field.metadata["rule"] for field in dataclasses.fields(kind or Config)}


def _shown(value: object) -> str:
    """Return a value as text that fits a message."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


def _check_rules(settings: Config | CohortSettings) -> None:
    """Make every value plain, and raise `SettingsError` for the first that breaks its rule."""
    for name, rule in rules(settings).items():
        value = _plain(getattr(settings, name))
        if rule.none and isinstance(value, str) and value == "none":  # TOML has no null
            value = None
        object.__setattr__(settings, name, value)
        if not rule.accepts(value):
            raise SettingsError(f"the setting {name!r} must be {rule.describe()}; it is {_shown(value)}")


PRESET_NAMES = ("fast", "default", "best")
KINDS = ("all", "networks", "linear")


@_with_known_names
@dataclass(frozen=True)
class CohortSettings:
    """How many members a cohort has, how they are run, and how the model answers.

    Args:
        preset: the portfolio of configs that is tried where no config is given: "fast", "default" or "best" (see
            `tabcohort.cohort.presets`); None tries the default config alone.
        kinds: which candidates of a preset are tried: "all", "networks" (without boosted trees) or "linear" (logistic
            regression).
        folds: parts of the rows, each tested by members that never saw it: 1 (a single split by `validation_fraction`
            and `test_fraction`), or 3 and more; None chooses by the number of rows.
        seeds: number of times that all folds are trained, each time with other folds and random streams; None chooses
            by the numbers of rows and of configs; the preset "fast" has 1 (of 4 folds), "best" has 2.
        halving: whether configs with a high loss after a few epochs are dropped, if there are several; candidates of a
            preset are never dropped.
        budget_seconds: training ends after this time with what there is then; None sets no limit.
        coverage: share of the rows of each class whose prediction set must contain the true class.
        threshold: None predicts the most probable class; a probability, or an objective such as "sensitivity>=0.95"
            that a threshold for the positive class is chosen for (see `tabcohort.evaluation.decision`).
        threads: members that are trained side by side; None is one per core. No result depends on it.

    Raises:
        SettingsError: a value breaks its rule; the message says which and what is allowed.
    """

    preset: str | None = _setting("default", *PRESET_NAMES, none=True)
    kinds: str = _setting("all", *KINDS)
    folds: int | None = _setting(None, number=int, low=1, none=True)
    seeds: int | None = _setting(None, number=int, low=1, none=True)
    halving: bool = _setting(True, number=bool)
    budget_seconds: float | None = _setting(None, number=float, low=0, low_open=True, none=True)
    coverage: float = _setting(0.9, number=float, low=0, high=1, low_open=True, high_open=True)
    threshold: float | str | None = _setting(None, none=True, special="label")
    threads: int | None = _setting(None, number=int, low=1, none=True)

    def __post_init__(self) -> None:
        _check_rules(self)
        if self.folds == 2:
            raise SettingsError(
                "the setting 'folds' must be 1, or 3 and more, as rows train, validate and test in turn; it is 2"
            )

    def with_members(self, n_members: int) -> CohortSettings:
        """Return settings for this many members per config, or a few more: whole seeds of equal folds.

        Up to ten are the folds of one seed; more are several seeds of eight folds, or of the folds that are set.

        Raises:
            SettingsError: there is no cohort of this size.
        """
        if n_members < 1 or n_members == 2:
            raise SettingsError(
                f"a cohort has 1 member, or 3 and more, as rows train, validate and test in turn; asked for {n_members}"
            )
        folds = self.folds or (n_members if n_members <= 10 else 8)
        return dataclasses.replace(self, folds=folds, seeds=max(1, -(-n_members // folds)))
