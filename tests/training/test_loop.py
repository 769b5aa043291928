"""The loop: best weights, patience, rates, records and Ctrl-C, with an engine that plays back a script."""

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

from tabcohort.engines.batches import BatchPlan, EpochBatches, EpochBlock
from tabcohort.engines.protocol import EpochOutcome, MemberData, Outcomes, State
from tabcohort.engines.torch_loop import TorchEngine, forward
from tabcohort.engines.validation import ValidationSet
from tabcohort.errors import TabcohortWarning, TrainingError
from tabcohort.evaluation.metrics import Scorer, log_loss, log_probabilities
from tabcohort.network.models import build_model, initialize_weights
from tabcohort.settings import Config
from tabcohort.training.loop import TrainingState, is_better, train_network
from tabcohort.training.schedule import Plateau, learning_rate

ONE_STOPPING_ROW = ValidationSet(np.array([1]), np.ones(1), positive=1)


class ScriptedEngine:
    """Gives the logits of a script, one array per epoch, and writes the epoch into its one weight.

    What it does in an epoch depends on the epoch before, as that of a real engine does.
    """

    name, device_name = "scripted", "cpu"
    epochs_at_a_time = 1

    def __init__(self, script: list[Any], step_losses: list[list[float]] | None = None) -> None:
        self.script = [np.asarray(logits, dtype=np.float32).reshape(-1, 1) for logits in script]
        self.step_losses = step_losses
        self.state: State = {"weight": np.zeros(1), "steps": np.zeros(())}
        self.rate_of: dict[int, float] = {}
        self.states: list[State] = []

    def run_epoch(self, plan: EpochBatches, learning_rate: float) -> EpochOutcome:
        assert self.state["weight"] == self.state["steps"] == plan.epoch - 1, "an epoch was left out or run twice"
        self.rate_of[plan.epoch] = learning_rate
        for array in self.state.values():
            array[...] = plan.epoch
        losses = np.ones(plan.n_steps) if self.step_losses is None else np.array(self.step_losses[plan.epoch - 1])
        return EpochOutcome(losses, self.script[plan.epoch - 1])

    def run_epochs(self, plans: EpochBlock, rates: Sequence[float]) -> Outcomes:
        assert len(plans) == len(rates) <= self.epochs_at_a_time
        outcomes, self.states = [], []
        for number, rate in enumerate(rates):
            outcomes.append(self.run_epoch(plans[number], rate))
            self.states.append({name: array.copy() for name, array in self.state.items()})
        return Outcomes(
            np.stack([outcome.step_losses for outcome in outcomes]),
            np.stack([outcome.val_logits for outcome in outcomes]),
        )

    def state_after(self, number: int) -> State:
        return self.states[number]

    def release(self) -> None:
        pass


@pytest.fixture(autouse=True, params=[1, 3, 100])
def epochs_at_a_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is true of epochs run one by one must be true of epochs that are run many in a call."""
    monkeypatch.setattr(ScriptedEngine, "epochs_at_a_time", request.param)


def rates_of(engine: ScriptedEngine, progress: TrainingState) -> list[float]:
    """Return the rate that each epoch of the history was last run at."""
    return [engine.rate_of[record.epoch] for record in progress.history]


def member_plan(n_rows: int = 20, batch_size: int = 20, member: int = 0) -> BatchPlan:
    return BatchPlan(n_rows, batch_size, 0.0, 0.5, needs_pairs=False, seed=0, member=member)


def play(
    script: list[Any], stopping: ValidationSet = ONE_STOPPING_ROW, **choices: Any
) -> tuple[ScriptedEngine, TrainingState]:
    engine = ScriptedEngine(script)
    settings = Config(**{"max_epochs": len(script), "patience": None, **choices})
    return engine, train_network(engine, member_plan(), stopping, settings)


def real_run(**choices: Any) -> tuple[TorchEngine, ValidationSet, Config, BatchPlan]:
    """A network that overfits its few noisy rows within some epochs."""
    settings = Config(
        **{"hidden": (16,), "max_epochs": 30, "patience": None, "learning_rate": 0.05, "device": "cpu", **choices}
    )  # fmt: skip
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 4)).astype(np.float32)
    y = (X[:, 0] + rng.normal(size=60) > 0).astype(np.int64)
    module = build_model(settings, 4, 2)[1]
    initialize_weights(module, seed=0)
    data = MemberData.of_inputs(X[:40], np.eye(2, dtype=np.float32)[y[:40]], X[40:])
    engine = TorchEngine(module, data, settings, torch.device("cpu"))
    plan = BatchPlan(40, 16, 0.0, 0.5, needs_pairs=engine.has_batch_norm, seed=2)
    return engine, ValidationSet(y[40:], np.ones(20), 1), settings, plan


# Best weights


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("monitor", ["log_loss", "brier", "roc_auc"])
def test_best_weights_are_the_ones_that_scored_best(monitor: str, batch_norm: bool) -> None:
    engine, stopping, settings, plan = real_run(monitor=monitor, batch_norm=batch_norm)
    progress = train_network(engine, plan, stopping, settings)
    scores = [record.score for record in progress.history]
    best = scores[progress.best_epoch - 1]
    assert best == (min(scores) if settings.lower_is_better else max(scores)) != scores[-1]
    log_proba = log_probabilities(forward(engine.module, engine.val_inputs).numpy())
    recorded = progress.history[progress.best_epoch - 1].val_loss
    assert log_loss(log_proba, stopping.y, stopping.weight) == pytest.approx(recorded, rel=1e-14)
    if monitor != "log_loss":
        assert Scorer(log_proba, stopping.y, 1).metrics(stopping.weight)[monitor] == best


def test_best_weights_share_no_storage_with_what_training_goes_on_writing() -> None:
    engine, stopping, settings, plan = real_run()
    seen: list[TrainingState] = []
    train_network(engine, plan, stopping, settings, seen.append)  # returns None: nothing ends it
    assert seen[-1].best_epoch < len(seen)
    for progress in seen:
        for name, array in progress.best_state.items():
            assert not np.shares_memory(array, engine.state[name])


def test_buffers_are_those_of_the_best_epoch_too() -> None:
    engine, stopping, settings, plan = real_run(batch_norm=True, dropout=0.3)
    snapshots: list[dict[str, torch.Tensor]] = []

    def snap(progress: TrainingState) -> None:
        snapshots.append({name: value.clone() for name, value in engine.module.state_dict().items()})

    progress = train_network(engine, plan, stopping, settings, snap)
    assert 1 < progress.best_epoch < len(snapshots)
    best = snapshots[progress.best_epoch - 1]
    assert any("running_mean" in name for name in best)
    for name, value in engine.module.state_dict().items():
        assert torch.equal(value, best[name]), name
    assert not torch.equal(best["layers.1.running_mean"], snapshots[-1]["layers.1.running_mean"])


def test_ties_keep_the_earliest_epoch() -> None:
    engine, progress = play([0.0, 1.0, 0.5, 1.0, 1.0])
    assert progress.best_epoch == 2
    assert engine.state["weight"] == 2
    _, progress = play([-1.0, 1.0, 2.0, 3.0], monitor="accuracy")
    assert [record.score for record in progress.history] == [0, 1, 1, 1]
    assert progress.best_epoch == 2


@given(st.integers(2, 60), st.data())
@hypothesis_settings(max_examples=60, deadline=None)
def test_as_many_rows_right_are_a_tie_whichever_rows_they_are(n_rows: int, data: st.DataObject) -> None:
    n_right = data.draw(st.integers(0, n_rows))
    script = [
        np.where(np.isin(np.arange(n_rows), data.draw(st.permutations(range(n_rows)))[:n_right]), 1.0, -1.0)
        for _ in range(3)
    ]
    stopping = ValidationSet(np.ones(n_rows, dtype=np.int64), np.ones(n_rows), positive=1)
    _, progress = play(script, stopping, monitor="accuracy")
    assert [record.score for record in progress.history] == [n_right / n_rows] * 3
    assert progress.best_epoch == 1


def test_an_equal_score_is_not_better() -> None:
    lower, higher = Config(monitor="log_loss"), Config(monitor="accuracy")
    assert [is_better(score, 0.5, lower) for score in (0.4, 0.5, 0.6)] == [True, False, False]
    assert [is_better(score, 0.5, higher) for score in (0.4, 0.5, 0.6)] == [False, False, True]


# Stopping


@pytest.mark.parametrize("patience", [1, 2, 5])
def test_training_stops_after_patience_epochs_without_a_better_score(patience: int) -> None:
    engine, progress = play([0.0, 1.0, 2.0] + [1.9] * 20, patience=patience)
    assert (len(progress.history), progress.best_epoch, progress.stop_reason) == (3 + patience, 3, "patience")
    assert engine.state["weight"] == 3


def test_training_stops_at_max_epochs() -> None:
    _, progress = play([0.0, 1.0, 2.0, 3.0], patience=2)
    assert (len(progress.history), progress.best_epoch, progress.stop_reason) == (4, 4, "max_epochs")


@pytest.mark.parametrize(
    ("monitor", "best"),
    [("log_loss", 2), ("accuracy", 3), ("roc_auc", 1), ("brier", 2), ("sensitivity", 4)],
)
def test_the_monitored_metric_chooses_the_epoch(monitor: str, best: int) -> None:
    script = [
        [-9.0, -8.0, -2.0, -1.9],  # ranks perfectly
        [-1.0, 0.1, -0.1, 1.0],  # the smallest loss
        [-0.1, -8.0, -5.0, 9.0],  # three right
        [8.0, 0.2, 0.3, 0.1],  # finds both positives
    ]
    stopping = ValidationSet(np.array([0, 0, 1, 1]), np.ones(4), positive=1)
    _, progress = play(script, stopping, monitor=monitor)
    expected = [
        Scorer(log_probabilities(np.array(logits, dtype=np.float32)[:, None]), stopping.y, 1).metrics(np.ones(4))[
            monitor
        ]
        for logits in script
    ]
    assert [record.score for record in progress.history] == pytest.approx(expected, abs=1e-15)
    assert progress.best_epoch == best


@pytest.mark.parametrize("monitor", ["roc_auc", "balanced_accuracy", "specificity"])
def test_a_metric_that_the_stopping_rows_cannot_tell_is_an_error(monitor: str) -> None:
    with pytest.raises(TrainingError, match=f"the stopping rows cannot tell '{monitor}' .* monitor 'log_loss' instead"):
        play([0.0, 1.0], monitor=monitor)


def test_a_metric_of_the_positive_class_needs_one() -> None:
    with pytest.raises(TrainingError, match=r"the stopping rows cannot tell 'f1' .*no class is named positive"):
        play([0.0], ValidationSet(np.array([1]), np.ones(1), positive=None), monitor="f1")


# Records


def test_the_training_loss_of_an_epoch_is_the_mean_over_its_rows() -> None:
    engine = ScriptedEngine([0.0], step_losses=[[16.0, 1.0]])
    progress = train_network(engine, member_plan(20, 16), ONE_STOPPING_ROW, Config(max_epochs=1))
    assert progress.history[0].train_loss == 17 / 20 != np.mean([16 / 16, 1 / 4])


def test_the_training_loss_at_rate_zero_is_one_full_pass() -> None:
    engine, stopping, settings, plan = real_run(learning_rate=0.0, dropout=0.0, max_epochs=2)
    progress = train_network(engine, plan, stopping, settings)
    full_pass = F.binary_cross_entropy_with_logits(forward(engine.module, engine.inputs), engine.mass[:, 1:])
    for record in progress.history:
        assert record.train_loss == pytest.approx(full_pass.item(), rel=1e-6)


def test_the_stopping_loss_is_the_weighted_mean_of_one_full_pass() -> None:
    logits, y, weight = np.array([0.3, -2.0, 1.0]), np.array([1, 0, 0]), np.array([1.0, 3.0, 0.5])
    _, progress = play([logits], ValidationSet(y, weight, 1))
    losses = np.logaddexp(0, np.where(y == 1, -1, 1) * logits.astype(np.float32))
    assert progress.history[0].val_loss == pytest.approx(np.average(losses, weights=weight), rel=1e-12)
    assert progress.history[0].val_accuracy == pytest.approx(4 / 4.5)
    assert progress.history[0].score == progress.history[0].val_loss


def test_epochs_are_counted_from_one_and_seconds_only_grow() -> None:
    _, progress = play([0.0] * 5)
    assert [record.epoch for record in progress.history] == [1, 2, 3, 4, 5]
    seconds = [record.seconds for record in progress.history]
    assert seconds == sorted(seconds)
    assert seconds[0] >= 0


@pytest.mark.parametrize("schedule", ["constant", "step", "exponential", "cosine", "one_cycle"])
def test_the_history_records_the_rate_really_used(schedule: str) -> None:
    engine, progress = play([0.0] * 12, schedule=schedule, schedule_every=3, learning_rate=0.1)
    settings = Config(schedule=schedule, schedule_every=3, learning_rate=0.1, max_epochs=12)
    expected = [learning_rate(epoch, settings, Plateau()) for epoch in range(1, 13)]
    assert [record.learning_rate for record in progress.history] == rates_of(engine, progress) == expected


@pytest.mark.parametrize("monitor", ["log_loss", "accuracy"])
def test_the_plateau_schedule_follows_pytorch_and_acts_from_the_next_epoch_on(monitor: str) -> None:
    rng = np.random.default_rng(1)
    script = list(rng.normal(size=(25, 8)))
    stopping = ValidationSet(np.arange(8) % 2, np.ones(8), 1)
    engine, progress = play(
        script,
        stopping,
        schedule="plateau",
        schedule_patience=2,
        schedule_factor=0.5,
        learning_rate=0.1,
        monitor=monitor,
    )
    sgd = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    scheduler = ReduceLROnPlateau(sgd, "min" if monitor == "log_loss" else "max", 0.5, 2, eps=0)
    expected = []
    for record in progress.history:
        expected.append(sgd.param_groups[0]["lr"])
        scheduler.step(record.score)
    rates = rates_of(engine, progress)
    assert rates == pytest.approx(expected)
    assert [record.learning_rate for record in progress.history] == rates
    assert len(set(rates)) > 2


# Going on, Ctrl-C and losses that are not finite


def test_training_goes_on_from_an_earlier_progress() -> None:
    script = [0.0, 2.0, 1.0, 1.5, 3.0, 1.0]
    _, whole = play(script)
    engine = ScriptedEngine(script)
    earlier = train_network(engine, member_plan(), ONE_STOPPING_ROW, Config(max_epochs=3, patience=None))
    state = {name: np.full_like(array, 3) for name, array in engine.state.items()}  # as a checkpoint has it
    earlier = TrainingState(earlier.history, earlier.best_epoch, earlier.best_state, earlier.plateau, state=state)
    later = train_network(
        engine, member_plan(), ONE_STOPPING_ROW, Config(max_epochs=6, patience=None), resume_from=earlier
    )
    assert [record.score for record in later.history] == [record.score for record in whole.history]
    assert (later.best_epoch, later.stop_reason) == (whole.best_epoch, whole.stop_reason) == (5, "max_epochs")
    assert engine.state["weight"] == 5


@pytest.mark.parametrize("schedule", ["constant", "plateau"])
def test_a_watcher_ends_training_with_a_reason_and_it_can_be_gone_on_with(schedule: str) -> None:
    script = [0.0, 2.0, 1.0, 1.5, 3.0, 1.0]
    settings = Config(max_epochs=6, patience=None, schedule=schedule, schedule_patience=0, learning_rate=0.1)
    whole = train_network(ScriptedEngine(script), member_plan(), ONE_STOPPING_ROW, settings)
    for n_epochs in range(1, 6):
        first, second = ScriptedEngine(script), ScriptedEngine(script)

        def watch(progress: TrainingState, end: int = n_epochs) -> str | None:
            return "paused" if len(progress.history) == end else None

        paused = train_network(first, member_plan(), ONE_STOPPING_ROW, settings, watch)
        assert (paused.stop_reason, len(paused.history)) == ("paused", n_epochs)
        assert paused.state["weight"] == paused.state["steps"] == n_epochs
        assert first.state["weight"] == paused.best_epoch  # the engine has the best weights meanwhile
        resume_from = replace(paused, stop_reason=None)
        again = train_network(second, member_plan(), ONE_STOPPING_ROW, settings, resume_from=resume_from)
        assert [replace(each, seconds=0.0) for each in again.history] == [
            replace(each, seconds=0.0) for each in whole.history
        ]
        assert (again.best_epoch, again.stop_reason, again.state) == (5, "max_epochs", {})
        assert second.state["weight"] == 5


def test_the_reason_of_an_ending_comes_before_that_of_a_watcher() -> None:
    engine = ScriptedEngine([0.0, 1.0])
    settings = Config(max_epochs=2, patience=None)
    progress = train_network(
        engine, member_plan(), ONE_STOPPING_ROW, settings, lambda p: "budget" if len(p.history) == 2 else None
    )
    assert (progress.stop_reason, progress.state) == ("max_epochs", {})


def test_a_watcher_is_asked_before_the_first_epoch_of_a_training_that_goes_on() -> None:
    """Where it left off may be where it is to pause."""
    script = [0.0, 2.0, 1.0]
    settings = Config(max_epochs=3, patience=None)
    paused = train_network(ScriptedEngine(script), member_plan(), ONE_STOPPING_ROW, settings, lambda progress: "paused")
    seen: list[int] = []

    def watch(progress: TrainingState) -> str:
        seen.append(len(progress.history))
        return "paused"

    again = train_network(
        ScriptedEngine(script), member_plan(), ONE_STOPPING_ROW, settings, watch, replace(paused, stop_reason=None)
    )
    assert seen == [1]
    assert (again.stop_reason, again.history, again.state) == ("paused", paused.history, paused.state)


def test_every_epoch_is_watched_once_in_its_order() -> None:
    script, seen = [0.0, 2.0, 1.0, 1.5, 3.0, 1.0, 0.5], []
    engine = ScriptedEngine(script)
    settings = Config(max_epochs=7, patience=None, schedule="plateau", schedule_patience=0, learning_rate=0.1)
    train_network(engine, member_plan(), ONE_STOPPING_ROW, settings, lambda progress: seen.append(progress.history))
    assert [len(history) for history in seen] == [1, 2, 3, 4, 5, 6, 7]
    assert [[record.epoch for record in history] for history in seen] == [list(range(1, n + 1)) for n in range(1, 8)]


def test_where_training_may_not_run_ahead_the_engine_is_where_the_watcher_is() -> None:
    engine, seen = ScriptedEngine([0.0, 2.0, 1.0, 1.5, 3.0]), []

    def watch(progress: TrainingState) -> None:
        seen.append((len(progress.history), float(engine.state["steps"])))

    train_network(engine, member_plan(), ONE_STOPPING_ROW, Config(max_epochs=5), watch, run_ahead=False)
    assert seen == [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]


def test_what_happens_beyond_the_last_epoch_is_not_told() -> None:
    script = [0.0, 1.0, 0.5, 0.5, math.nan, math.inf]
    _, progress = play(script, patience=2)
    assert (len(progress.history), progress.best_epoch, progress.stop_reason) == (4, 2, "patience")


def test_epochs_before_one_that_is_not_finite_are_watched() -> None:
    seen: list[int] = []
    engine = ScriptedEngine([0.0, 1.0, math.nan])
    with pytest.raises(TrainingError, match="stopped being finite at epoch 3, step 1 of 1"):
        train_network(
            engine, member_plan(), ONE_STOPPING_ROW, Config(max_epochs=3), lambda p: seen.append(len(p.history))
        )
    assert seen == [1, 2]


def test_ctrl_c_keeps_the_best_so_far() -> None:
    def interrupt(progress: TrainingState) -> None:
        if len(progress.history) == 4:
            raise KeyboardInterrupt

    engine = ScriptedEngine([0.0, 2.0, 1.0, 1.5, 3.0])
    with pytest.warns(TabcohortWarning, match="^interrupted: the best weights so far are kept, those of epoch 2 of 4$"):
        progress = train_network(engine, member_plan(), ONE_STOPPING_ROW, Config(max_epochs=5), interrupt)
    assert (progress.stop_reason, progress.best_epoch, len(progress.history)) == ("interrupted", 2, 4)
    assert engine.state["weight"] == engine.state["steps"] == 2


def test_ctrl_c_within_an_epoch_forgets_that_epoch() -> None:
    class Interrupted(ScriptedEngine):
        def run_epoch(self, plan: EpochBatches, learning_rate: float) -> EpochOutcome:
            outcome = super().run_epoch(plan, learning_rate)
            if plan.epoch == 3:
                raise KeyboardInterrupt
            return outcome

    engine = Interrupted([0.0, 2.0, 9.0, 9.0])
    with pytest.warns(TabcohortWarning, match="the best weights so far are kept, those of epoch 2 of 2$"):
        progress = train_network(engine, member_plan(), ONE_STOPPING_ROW, Config(max_epochs=4), run_ahead=False)
    assert (progress.stop_reason, progress.best_epoch, len(progress.history)) == ("interrupted", 2, 2)
    assert engine.state["weight"] == 2


def test_ctrl_c_before_the_first_epoch_is_over_is_raised_on() -> None:
    class Interrupted(ScriptedEngine):
        def run_epoch(self, plan: EpochBatches, learning_rate: float) -> EpochOutcome:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_network(Interrupted([0.0]), member_plan(), ONE_STOPPING_ROW, Config(max_epochs=1))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_member_epoch_and_step(bad: float) -> None:
    engine = ScriptedEngine([0.0, 0.0], step_losses=[[1.0, 1.0, 1.0], [1.0, bad, bad]])
    words = "the loss of member 7 stopped being finite at epoch 2, step 2 of 3; a smaller learning_rate or a clip_norm"
    with pytest.raises(TrainingError, match=words):
        train_network(engine, member_plan(20, 8, member=7), ONE_STOPPING_ROW, Config(max_epochs=2))


def test_an_output_that_is_not_finite_names_member_epoch_and_step() -> None:
    words = "the output for the stopping rows of member 0 stopped being finite at epoch 2, step 1 of 1; "
    with pytest.raises(TrainingError, match=words):
        play([0.0, math.nan])


def test_a_huge_learning_rate_is_found_out() -> None:
    engine, stopping, settings, plan = real_run(optimizer="sgd", learning_rate=1e30)
    words = "of member 0 stopped being finite at epoch 1, step . of 3; a smaller learning_rate"
    with pytest.raises(TrainingError, match=words):
        train_network(engine, plan, stopping, settings)
