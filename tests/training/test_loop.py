"""The loop: best weights, patience, rates, records and Ctrl-C, with an engine that plays back a script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tabcohort.data.encoder import plain_encoding, store_rows
from tabcohort.engines.batches import BatchPlan
from tabcohort.engines.compiled.engine import CompiledEngine
from tabcohort.engines.protocol import MemberData, State
from tabcohort.engines.reading import make_reading
from tabcohort.engines.torch_loop import TorchEngine, logits_in_eval_mode
from tabcohort.engines.validation import EpochResult, ValidationSet
from tabcohort.errors import TabcohortWarning, TrainingError
from tabcohort.evaluation.metrics import Scorer, log_loss, log_probabilities
from tabcohort.network.lower import lower, network_of
from tabcohort.network.models import build_model, initialize_weights
from tabcohort.settings import Config
from tabcohort.training.loop import TrainingState, is_better, train_network
from tabcohort.training.schedule import Plateau, learning_rate

N_TRAIN = 20


def validation_of(y: Any, weight: Any = None, positive: int | None = 1) -> ValidationSet:
    y = np.asarray(y)
    return ValidationSet(np.arange(len(y)), y, np.ones(len(y)) if weight is None else np.asarray(weight), positive)


ONE_ROW = validation_of([1])


class ScriptedEngine:
    """Plays back the logits of a script, one array per epoch; its one weight is the number of the last epoch.

    It runs ahead as a real engine does: `epochs_per_call` epochs at the rates that are known then.
    """

    name, device_name = "scripted", "cpu"
    epochs_per_call = 1

    def __init__(
        self, script: list[Any], validation: ValidationSet = ONE_ROW, step_losses: list[list[float]] | None = None
    ) -> None:
        self.logits = np.stack([np.asarray(logits, dtype=np.float32).reshape(-1, 1) for logits in script])
        self.step_losses = np.ones((len(script), 1)) if step_losses is None else np.array(step_losses)
        self.validation = validation
        self.state: State = {"weight": np.zeros(1), "steps": np.zeros(())}
        self.rate_of: dict[int, float] = {}
        self.ahead: dict[int, tuple[float, EpochResult]] = {}

    def run_epoch(self, epoch: int, rates: Sequence[float]) -> EpochResult:
        assert self.state["weight"] == self.state["steps"] == epoch - 1, "an epoch was left out or run twice"
        if epoch not in self.ahead or self.ahead[epoch][0] != rates[epoch - 1]:
            block = slice(epoch - 1, min(epoch - 1 + self.epochs_per_call, len(rates)))
            results = self.validation.results(self.step_losses[block], self.logits[block], N_TRAIN)
            self.ahead = dict(enumerate(zip(rates[block], results, strict=True), start=epoch))
        self.rate_of[epoch], result = self.ahead[epoch]
        for array in self.state.values():
            array[...] = epoch
        return result

    def snapshot(self) -> State:
        return {name: array.copy() for name, array in self.state.items()}

    def restore(self, state: State) -> None:
        for name, array in state.items():
            self.state[name][...] = array
        self.ahead = {}

    def release(self) -> None:
        pass


@pytest.fixture(autouse=True, params=[1, 3, 100])
def epochs_per_call(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is true of epochs that run one by one must be true where an engine runs ahead."""
    monkeypatch.setattr(ScriptedEngine, "epochs_per_call", request.param)


def rates_of(engine: ScriptedEngine, state: TrainingState) -> list[float]:
    """Return the rate that each epoch of the history was run at."""
    return [engine.rate_of[record.epoch] for record in state.history]


def play(
    script: list[Any], validation: ValidationSet = ONE_ROW, **changes: Any
) -> tuple[ScriptedEngine, TrainingState]:
    engine = ScriptedEngine(script, validation)
    config = Config(**{"max_epochs": len(script), "patience": None, **changes})
    return engine, train_network(engine, validation, config)


def real_run(engine: str = "torch", **changes: Any) -> tuple[Any, ValidationSet, Config]:
    """A network that overfits its few noisy rows within some epochs."""
    config = Config(
        **{"hidden": (16,), "max_epochs": 30, "patience": None, "learning_rate": 0.05, "device": "cpu", **changes}
    )  # fmt: skip
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)).astype(np.float32)
    y = (X[:, 0] + rng.normal(size=60) > 0).astype(np.int64)
    module = build_model(config, 4, 2)[1]
    initialize_weights(module, seed=0)
    validation = ValidationSet(np.arange(40, 60), y[40:], np.ones(20), 1)
    data = MemberData(
        make_reading(store_rows(X.astype(np.float64), None), plain_encoding(4), None), np.arange(40),
        np.eye(2, dtype=np.float32)[y[:40]],
        BatchPlan(40, 16, 0.0, 0.5, needs_pairs=config.batch_norm, seed=2), validation,
    )  # fmt: skip
    if engine == "compiled":
        return CompiledEngine(network_of(module, lower(module, 4)), data, config), validation, config
    return TorchEngine(module, data, config, torch.device("cpu")), validation, config


# Best weights


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("monitor", ["log_loss", "brier", "roc_auc"])
def test_best_weights_are_the_ones_that_scored_best(monitor: str, batch_norm: bool) -> None:
    engine, validation, config = real_run(monitor=monitor, batch_norm=batch_norm)
    state = train_network(engine, validation, config)
    scores = [record.score for record in state.history]
    best = scores[state.best_epoch - 1]
    assert best == (min(scores) if config.lower_is_better else max(scores)) != scores[-1]
    log_proba = log_probabilities(logits_in_eval_mode(engine.module, engine.val_inputs).numpy())
    recorded = state.history[state.best_epoch - 1].val_loss
    assert log_loss(log_proba, validation.y, validation.weight) == pytest.approx(recorded, rel=1e-14)
    if monitor != "log_loss":
        assert Scorer(log_proba, validation.y, 1).metrics(validation.weight)[monitor] == best


def test_best_weights_share_no_storage_with_what_training_goes_on_writing() -> None:
    engine, validation, config = real_run()
    states: list[TrainingState] = []
    train_network(engine, validation, config, states.append)  # returns None: nothing stops it
    assert states[-1].best_epoch < len(states)
    for state in states:
        for name, array in state.best_state.items():
            assert not np.shares_memory(array, engine._tensors[name].detach().numpy())


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_nothing_writes_to_best_weights_later(engine: str) -> None:
    real, validation, config = real_run(engine)
    kept: list[tuple[State, State]] = []

    def keep(state: TrainingState) -> None:
        kept.append((state.best_state, {name: array.copy() for name, array in state.best_state.items()}))

    state = train_network(real, validation, config, keep)
    assert 1 < state.best_epoch < len(kept)
    for arrays, copies in kept:
        for name, array in copies.items():
            np.testing.assert_array_equal(arrays[name], array)


def test_buffers_are_those_of_the_best_epoch_too() -> None:
    engine, validation, config = real_run(batch_norm=True, dropout=0.3)
    snapshots: list[dict[str, torch.Tensor]] = []

    def snap(state: TrainingState) -> None:
        snapshots.append({name: value.clone() for name, value in engine.module.state_dict().items()})

    state = train_network(engine, validation, config, snap)
    assert 1 < state.best_epoch < len(snapshots)
    best = snapshots[state.best_epoch - 1]
    assert any("running_mean" in name for name in best)
    for name, value in engine.module.state_dict().items():
        assert torch.equal(value, best[name]), name
    assert not torch.equal(best["layers.1.running_mean"], snapshots[-1]["layers.1.running_mean"])


def test_ties_keep_the_earliest_epoch() -> None:
    engine, state = play([0.0, 1.0, 0.5, 1.0, 1.0])
    assert state.best_epoch == 2
    assert engine.state["weight"] == 2
    _, state = play([-1.0, 1.0, 2.0, 3.0], monitor="accuracy")
    assert [record.score for record in state.history] == [0, 1, 1, 1]
    assert state.best_epoch == 2


@given(st.integers(2, 60), st.data())
@hypothesis_settings(max_examples=60, deadline=None)
def test_equally_many_correct_rows_are_a_tie_whichever_rows_they_are(n_rows: int, data: st.DataObject) -> None:
    n_correct = data.draw(st.integers(0, n_rows))
    script = [
        np.where(np.isin(np.arange(n_rows), data.draw(st.permutations(range(n_rows)))[:n_correct]), 1.0, -1.0)
        for _ in range(3)
    ]
    _, state = play(script, validation_of(np.ones(n_rows, dtype=np.int64)), monitor="accuracy")
    assert [record.score for record in state.history] == [n_correct / n_rows] * 3
    assert state.best_epoch == 1


def test_an_equal_score_is_not_better() -> None:
    lower_is_better, higher_is_better = Config(monitor="log_loss"), Config(monitor="accuracy")
    assert [is_better(score, 0.5, lower_is_better) for score in (0.4, 0.5, 0.6)] == [True, False, False]
    assert [is_better(score, 0.5, higher_is_better) for score in (0.4, 0.5, 0.6)] == [False, False, True]


# Stopping


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_training_stops_after_patience_epochs_without_a_better_score(patience: int) -> None:
    engine, state = play([0.0, 1.0, 2.0] + [1.9] * 20, patience=patience)
    assert (state.n_epochs, state.best_epoch, state.stop_reason) == (3 + patience, 3, "patience")
    assert engine.state["weight"] == 3
    assert state.is_finished


def test_training_stops_at_max_epochs() -> None:
    _, state = play([0.0, 1.0, 2.0, 3.0], patience=2)
    assert (len(state.history), state.best_epoch, state.stop_reason) == (4, 4, "max_epochs")
    assert state.is_finished


@pytest.mark.parametrize(
    ("monitor", "best"),
    [("log_loss", 2), ("accuracy", 3), ("roc_auc", 1), ("brier", 2), ("sensitivity", 4)],
)
def test_the_monitored_metric_chooses_the_epoch(monitor: str, best: int) -> None:
    script = [
        [-9.0, -8.0, -2.0, -1.9],  # ranks perfectly
        [-1.0, 0.1, -0.1, 1.0],  # the smallest loss
        [-0.1, -8.0, -5.0, 9.0],  # three correct
        [8.0, 0.2, 0.3, 0.1],  # predicts both positives
    ]
    validation = validation_of([0, 0, 1, 1])
    _, state = play(script, validation, monitor=monitor)
    expected = [
        Scorer(log_probabilities(np.array(logits, dtype=np.float32)[:, None]), validation.y, 1).metrics(np.ones(4))[
            monitor
        ]
        for logits in script
    ]
    assert [record.score for record in state.history] == pytest.approx(expected, abs=1e-15)
    assert state.best_epoch == best


@pytest.mark.parametrize("monitor", ["roc_auc", "balanced_accuracy", "specificity"])
def test_a_metric_that_the_validation_rows_cannot_determine_is_an_error(monitor: str) -> None:
    words = f"the validation rows cannot determine '{monitor}' .* monitor 'log_loss' instead"
    with pytest.raises(TrainingError, match=words):
        play([0.0, 1.0], monitor=monitor)


def test_a_metric_of_the_positive_class_needs_one() -> None:
    words = r"the validation rows cannot determine 'f1' .*no class is named positive"
    with pytest.raises(TrainingError, match=words):
        play([0.0], validation_of([1], positive=None), monitor="f1")


# Records


def test_the_training_loss_of_an_epoch_is_the_mean_over_its_rows() -> None:
    engine = ScriptedEngine([0.0], step_losses=[[16.0, 1.0]])  # of 16 and 4 rows
    state = train_network(engine, ONE_ROW, Config(max_epochs=1))
    assert state.history[0].train_loss == 17 / 20 != np.mean([16 / 16, 1 / 4])


def test_the_training_loss_at_rate_zero_is_one_full_pass() -> None:
    engine, validation, config = real_run(learning_rate=0.0, dropout=0.0, max_epochs=2)
    state = train_network(engine, validation, config)
    logits = logits_in_eval_mode(engine.module, engine.inputs)
    full_pass = F.binary_cross_entropy_with_logits(logits, engine.targets[:, 1:])
    for record in state.history:
        assert record.train_loss == pytest.approx(full_pass.item(), rel=1e-6)


def test_the_validation_loss_is_the_weighted_mean_of_one_full_pass() -> None:
    logits, y, weight = np.array([0.3, -2.0, 1.0]), np.array([1, 0, 0]), np.array([1.0, 3.0, 0.5])
    _, state = play([logits], validation_of(y, weight))
    losses = np.logaddexp(0, np.where(y == 1, -1, 1) * logits.astype(np.float32))
    assert state.history[0].val_loss == pytest.approx(np.average(losses, weights=weight), rel=1e-12)
    assert state.history[0].val_accuracy == pytest.approx(4 / 4.5)
    assert state.history[0].score == state.history[0].val_loss


def test_epochs_are_counted_from_one_and_seconds_only_grow() -> None:
    _, state = play([0.0] * 5)
    assert [record.epoch for record in state.history] == [1, 2, 3, 4, 5]
    assert state.n_epochs == 5
    seconds = [record.seconds for record in state.history]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0


@pytest.mark.parametrize("schedule", ["constant", "step", "exponential", "cosine", "one_cycle"])
def test_the_history_records_the_rate_really_used(schedule: str) -> None:
    engine, state = play([0.0] * 12, schedule=schedule, schedule_every=3, learning_rate=0.1)
    config = Config(schedule=schedule, schedule_every=3, learning_rate=0.1, max_epochs=12)
    expected = [learning_rate(epoch, config, Plateau()) for epoch in range(1, 13)]
    assert [record.learning_rate for record in state.history] == rates_of(engine, state) == expected


@pytest.mark.parametrize("monitor", ["log_loss", "accuracy"])
def test_the_plateau_schedule_follows_pytorch_and_acts_from_the_next_epoch_on(monitor: str) -> None:
    rng = np.random.default_rng(1)
    script = list(rng.normal(size=(25, 8)))
    engine, state = play(
        script,
        validation_of(np.arange(8) % 2),
        schedule="plateau",
        schedule_patience=2,
        schedule_factor=0.5,
        learning_rate=0.1,
        monitor=monitor,
    )
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = ReduceLROnPlateau(sgd, "min" if monitor == "log_loss" else "max", 0.5, 2, eps=0)
    expected = []
    for record in state.history:
        expected.append(sgd.param_groups[0]["lr"])
        scheduler.step(record.score)
    rates = rates_of(engine, state)
    assert rates == pytest.approx(expected)
    assert [record.learning_rate for record in state.history] == rates
    assert len(set(rates)) > 2


# Resuming and callbacks


def without_seconds(state: TrainingState) -> list[Any]:
    return [record._replace(seconds=0.0) for record in state.history]


def test_training_resumes_from_an_earlier_state() -> None:
    script = [0.0, 2.0, 1.0, 1.5, 3.0, 1.0]
    _, whole = play(script)
    engine = ScriptedEngine(script)
    earlier = train_network(engine, ONE_ROW, Config(max_epochs=3, patience=None))
    after_three = {name: np.full_like(array, 3) for name, array in engine.state.items()}  # as a checkpoint has it
    history = tuple(record._replace(seconds=100.0) for record in earlier.history)
    earlier = TrainingState(history, earlier.best_epoch, earlier.best_state, earlier.plateau, engine_state=after_three)
    later = train_network(engine, ONE_ROW, Config(max_epochs=6, patience=None), resume_from=earlier)
    assert [record.score for record in later.history] == [record.score for record in whole.history]
    assert (later.best_epoch, later.stop_reason) == (whole.best_epoch, whole.stop_reason) == (5, "max_epochs")
    assert engine.state["weight"] == 5
    assert all(100 <= record.seconds < 160 for record in later.history), "time goes on from where it was"


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_a_callback_stops_training_with_a_reason_and_it_can_be_resumed(schedule: str) -> None:
    script = [0.0, 2.0, 1.0, 1.5, 3.0, 1.0]
    config = Config(max_epochs=6, patience=None, schedule=schedule, schedule_patience=0, learning_rate=0.1)
    whole = train_network(ScriptedEngine(script), ONE_ROW, config)
    for n_epochs in range(1, 6):
        first, second = ScriptedEngine(script), ScriptedEngine(script)

        def pause(state: TrainingState, last: int = n_epochs) -> str | None:
            return "paused" if state.n_epochs == last else None

        paused = train_network(first, ONE_ROW, config, pause)
        assert (paused.stop_reason, len(paused.history)) == ("paused", n_epochs)
        assert not paused.is_finished
        assert paused.engine_state["weight"] == paused.engine_state["steps"] == n_epochs
        assert first.state["weight"] == paused.best_epoch  # the engine has the best weights meanwhile
        resume_from = replace(paused, stop_reason=None)
        again = train_network(second, ONE_ROW, config, resume_from=resume_from)
        assert without_seconds(again) == without_seconds(whole)
        assert (again.best_epoch, again.stop_reason, again.engine_state) == (5, "max_epochs", {})
        assert second.state["weight"] == 5


def test_the_reason_of_the_training_itself_comes_before_that_of_a_callback() -> None:
    engine = ScriptedEngine([0.0, 1.0])
    config = Config(max_epochs=2, patience=None)
    state = train_network(engine, ONE_ROW, config, lambda state: "budget" if state.n_epochs == 2 else None)
    assert (state.stop_reason, state.engine_state) == ("max_epochs", {})


def test_a_callback_is_called_before_the_first_epoch_of_a_training_that_resumes() -> None:
    """Where it resumes may be where it is to pause."""
    script = [0.0, 2.0, 1.0]
    config = Config(max_epochs=3, patience=None)
    paused = train_network(ScriptedEngine(script), ONE_ROW, config, lambda state: "paused")
    calls: list[int] = []

    def pause(state: TrainingState) -> str:
        calls.append(state.n_epochs)
        return "paused"

    again = train_network(ScriptedEngine(script), ONE_ROW, config, pause, replace(paused, stop_reason=None))
    assert calls == [1]
    assert (again.stop_reason, again.history) == ("paused", paused.history)
    assert again.engine_state == paused.engine_state


def test_the_callback_is_called_once_per_epoch_in_order() -> None:
    script, histories = [0.0, 2.0, 1.0, 1.5, 3.0, 1.0, 0.5], []
    engine = ScriptedEngine(script)
    config = Config(max_epochs=7, patience=None, schedule="plateau", schedule_patience=0, learning_rate=0.1)
    train_network(engine, ONE_ROW, config, lambda state: histories.append(state.history))
    assert [len(history) for history in histories] == [1, 2, 3, 4, 5, 6, 7]
    assert [[record.epoch for record in history] for history in histories] == [
        list(range(1, n + 1)) for n in range(1, 8)
    ]


def test_the_engines_state_is_that_of_the_epoch_that_the_callback_is_called_for() -> None:
    engine, epochs = ScriptedEngine([0.0, 2.0, 1.0, 1.5, 3.0]), []

    def note(state: TrainingState) -> None:
        epochs.append((len(state.history), float(engine.snapshot()["steps"])))

    train_network(engine, ONE_ROW, Config(max_epochs=5), note)
    assert epochs == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]


def test_what_happens_beyond_the_last_epoch_is_ignored() -> None:
    script = [0.0, 1.0, 0.5, 0.5, math.nan, math.inf]
    _, state = play(script, patience=2)
    assert (len(state.history), state.best_epoch, state.stop_reason) == (4, 2, "patience")


def test_the_callback_is_called_for_epochs_before_one_that_is_not_finite() -> None:
    epochs: list[int] = []
    engine = ScriptedEngine([0.0, 1.0, math.nan])
    with pytest.raises(TrainingError, match="stopped being finite at epoch 3, step 1 of 1"):
        train_network(engine, ONE_ROW, Config(max_epochs=3), lambda state: epochs.append(len(state.history)))
    assert epochs == [1, 2]


# Ctrl-C


def test_ctrl_c_keeps_the_best_so_far() -> None:
    def interrupt(state: TrainingState) -> None:
        if len(state.history) == 4:
            raise KeyboardInterrupt

    engine = ScriptedEngine([0.0, 2.0, 1.0, 1.5, 3.0])
    with pytest.warns(TabcohortWarning, match="^interrupted: the best weights so far are kept, those of epoch 2 of 4$"):
        state = train_network(engine, ONE_ROW, Config(max_epochs=5), interrupt)
    assert (state.stop_reason, state.best_epoch, len(state.history)) == ("interrupted", 2, 4)
    assert not state.is_finished
    assert engine.state["weight"] == engine.state["steps"] == 2


def test_ctrl_c_within_an_epoch_forgets_that_epoch() -> None:
    class Interrupted(ScriptedEngine):
        def run_epoch(self, epoch: int, rates: Sequence[float]) -> EpochResult:
            result = super().run_epoch(epoch, rates)
            if epoch == 3:
                raise KeyboardInterrupt
            return result

    engine = Interrupted([0.0, 2.0, 9.0, 9.0])
    with pytest.warns(TabcohortWarning, match="the best weights so far are kept, those of epoch 2 of 2$"):
        state = train_network(engine, ONE_ROW, Config(max_epochs=4))
    assert (state.stop_reason, state.best_epoch, len(state.history)) == ("interrupted", 2, 2)
    assert engine.state["weight"] == 2


def test_ctrl_c_before_the_first_epoch_is_over_is_raised_on() -> None:
    class Interrupted(ScriptedEngine):
        def run_epoch(self, epoch: int, rates: Sequence[float]) -> EpochResult:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_network(Interrupted([0.0]), ONE_ROW, Config(max_epochs=1))


# Losses that are not finite


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_epoch_and_step(bad: float) -> None:
    engine = ScriptedEngine([0.0, 0.0], step_losses=[[1.0, 1.0, 1.0], [1.0, bad, bad]])
    words = (
        r"^the loss stopped being finite at epoch 2, step 2 of 3; a smaller learning_rate or a clip_norm of 1\.0 "
        "usually fixes this$"
    )
    with pytest.raises(TrainingError, match=words):
        train_network(engine, ONE_ROW, Config(max_epochs=2))


def test_an_output_that_is_not_finite_names_epoch_and_step() -> None:
    words = "^the output for the validation rows stopped being finite at epoch 2, step 1 of 1; "
    with pytest.raises(TrainingError, match=words):
        play([0.0, math.nan])


@pytest.mark.parametrize("engine", ["torch", "compiled"])
def test_a_huge_learning_rate_is_noticed(engine: str) -> None:
    real, validation, config = real_run(engine, optimizer="sgd", learning_rate=1e30)
    words = "stopped being finite at epoch 1, step . of 3; a smaller learning_rate"
    with pytest.raises(TrainingError, match=words):
        train_network(real, validation, config)
