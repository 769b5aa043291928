"""From a table to a trained model: real runs of the whole path, small ones."""

import copy
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn as nn
from sklearn.utils.class_weight import compute_class_weight

from tabcohort.cohort import Trained, class_mass, class_weights, fit, score, train
from tabcohort.engines.torch_loop import forward, one_thread
from tabcohort.errors import SettingsError, TabcohortWarning, TableError, TrainingError
from tabcohort.evaluate import evaluate, log_loss, log_probabilities
from tabcohort.models import Standardize, build_model, draw_weights
from tabcohort.plan import Roles, split_roles
from tabcohort.predictor import as_double, module_logits
from tabcohort.prepare import FloatArray, IntArray, fit_statistics, standardise
from tabcohort.settings import Settings
from tabcohort.table import Table, make_table
from tabcohort.training import Progress


def settings_of(**choices: Any) -> Settings:
    quick = {"hidden": (8,), "max_epochs": 20, "patience": None, "learning_rate": 0.02, "device": "cpu"}
    return Settings(**{**quick, **choices})


def noisy_rows(
    n_rows: int = 120, n_classes: int = 2, n_features: int = 4, seed: int = 0
) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, n_features))
    edges = np.quantile(X[:, 0], np.arange(1, n_classes) / n_classes)
    return X, np.digitize(X[:, 0] + rng.normal(0, 0.8, n_rows), edges)


def table_of(n_rows: int = 120, n_classes: int = 2, seed: int = 0) -> Table:
    return make_table(*noisy_rows(n_rows, n_classes, seed=seed))


def trained_on(data: Any, settings: Settings, n_classes: int = 2, **extra: Any) -> Trained:
    module = build_model(settings, data[0].shape[1] if isinstance(data, tuple) else data.X.shape[1], n_classes)
    draw_weights(module, settings.seed)
    return train(module, data, settings, **extra)


def logits_of(trained: Trained, X: FloatArray) -> FloatArray:
    return module_logits(as_double(trained.module), X)


def digest_of_a_run(seed: int = 0, n_rows: int = 600, width: int = 160) -> str:
    """A hash of everything that a run leaves: weights, buffers and history."""
    X, y = noisy_rows(n_rows, n_features=30)
    settings = settings_of(
        hidden=(width, width), batch_norm=True, dropout=0.2, batch_size=256, mixup_alpha=0.4, max_epochs=3, seed=seed
    )
    trained = trained_on((X, y), settings)
    digest = hashlib.sha256()
    for value in trained.module.state_dict().values():
        digest.update(value.numpy().tobytes())
    digest.update(repr([(record.train_loss, record.stop_loss, record.score) for record in trained.history]).encode())
    return digest.hexdigest()


# The best weights, and rows alone


@pytest.mark.parametrize("model", ["mlp", "residual", "logistic"])
def test_the_trained_module_has_the_weights_that_scored_best(model: str) -> None:
    table = table_of()
    trained = trained_on(table, settings_of(model=model, learning_rate=0.1, batch_size=16, max_epochs=40))
    losses = [record.stop_loss for record in trained.history]
    assert trained.best_epoch == 1 + int(np.argmin(losses)) < len(losses)
    statistics = fit_statistics(table.X[trained.roles.train], np.ones(len(trained.roles.train)))
    stop = trained.roles.stop
    with one_thread():
        logits = forward(trained.module[1:], torch.from_numpy(standardise(table.X[stop], statistics)))
    assert log_loss(log_probabilities(logits.numpy()), table.y[stop], np.ones(len(stop))) == min(losses)


@pytest.mark.parametrize(("model", "n_classes"), [("mlp", 2), ("mlp", 3), ("residual", 2), ("logistic", 3)])
def test_the_prediction_of_a_row_does_not_depend_on_its_batch(model: str, n_classes: int) -> None:
    X, y = noisy_rows(150, n_classes)
    settings = settings_of(model=model, batch_norm=True, dropout=0.4, batch_size=32, max_epochs=8)
    predictor = fit(make_table(X, y), settings)
    together = predictor.logits(X[:100])
    alone = np.concatenate([predictor.logits(X[i : i + 1]) for i in range(100)])
    np.testing.assert_allclose(alone, together, rtol=0, atol=1e-12)
    # The module itself, in float32, is left ready to predict too.
    module = copy.deepcopy(predictor.module)
    rows = torch.from_numpy(X[:5])
    torch.testing.assert_close(module(rows)[:1], module(rows[:1]), rtol=1e-5, atol=1e-5)


def test_the_trained_module_is_in_evaluation_mode_throughout() -> None:
    trained = trained_on(table_of(), settings_of(dropout=0.5, batch_norm=True, max_epochs=2))
    assert not any(layer.training for layer in trained.module.modules())


# The same bits


def test_a_run_has_the_same_bits_again_on_any_number_of_threads_and_in_another_process() -> None:
    threads, digests = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            digests.append(digest_of_a_run())
    finally:
        torch.set_num_threads(threads)
    code = "import test_cohort; print(test_cohort.digest_of_a_run())"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert digests[0] == digests[1] == found.stdout.strip()
    assert digest_of_a_run(seed=1) != digests[0]


def test_training_neither_depends_on_pytorchs_global_generator_nor_touches_it() -> None:
    X, y = noisy_rows(80)
    trained = []
    for global_seed in (1, 2):
        module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.AlphaDropout(0.2), nn.Linear(8, 1))
        draw_weights(module, seed=0)
        torch.manual_seed(global_seed)
        before = torch.random.get_rng_state()
        trained.append(train(module, (X, y), settings_of(batch_size=16)))
        assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(logits_of(trained[0], X), logits_of(trained[1], X))


def test_fit_leaves_pytorchs_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    fit(table_of(), settings_of(max_epochs=1))
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_order_of_the_rows_in_the_file_changes_nothing() -> None:
    X, y = noisy_rows(90)
    shuffled = np.random.default_rng(3).permutation(90)
    one = trained_on((X, y), settings_of(batch_size=16))
    other = trained_on((X[shuffled], y[shuffled]), settings_of(batch_size=16))
    np.testing.assert_array_equal(logits_of(one, X), logits_of(other, X))


# Weights of rows


@pytest.mark.parametrize("batch_size", ["full", "auto"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_sample_weights_equal_repeated_rows_to_the_bit(n_classes: int, batch_size: str) -> None:
    X, y = noisy_rows(90, n_classes)
    times = np.random.default_rng(1).integers(1, 4, 90)
    settings = settings_of(batch_size=batch_size)
    weighted = trained_on((X, y, times.astype(float)), settings, n_classes)
    repeated = trained_on((np.repeat(X, times, axis=0), np.repeat(y, times)), settings, n_classes)
    assert weighted.best_epoch == repeated.best_epoch
    np.testing.assert_array_equal(logits_of(weighted, X), logits_of(repeated, X))
    unweighted = trained_on((X, y), settings, n_classes)
    assert np.abs(logits_of(unweighted, X) - logits_of(weighted, X)).max() > 1e-3


def test_balanced_class_weights_are_those_of_scikit_learn() -> None:
    X, y = noisy_rows(100, 3)
    y[:40] = 0
    table = make_table(X, y)
    roles = split_roles(X, y, table.weight, Settings())
    found = class_weights(table, roles, Settings(class_weight="balanced"))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y[roles.train])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_class_weights_by_label_are_row_weights() -> None:
    X, y = noisy_rows(90)
    labels = np.array(["no", "yes"])[y]
    by_class = trained_on((X, labels), settings_of(class_weight={"yes": 3.0}, batch_size="full"))
    settings = settings_of(batch_size="full")
    by_row = trained_on(
        (X, labels, np.where(y == 1, 3.0, 1.0)), settings, roles=by_class.roles
    )  # fmt: skip
    losses = [[record.train_loss for record in trained.history] for trained in (by_class, by_row)]
    plain = [record.train_loss for record in trained_on((X, labels), settings).history]
    # Row weights move the statistics of the columns too, so the two runs are only alike.
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.05)
    assert abs(losses[0][0] / plain[0] - 1) > 1e-3
    table = make_table(X, labels)
    assert list(class_weights(table, by_class.roles, Settings(class_weight={"yes": 3.0}))) == [1.0, 3.0]


def test_class_weights_of_other_labels_find_their_class() -> None:
    X, y = noisy_rows(60)
    table = make_table(X, y)
    roles = split_roles(X, y, table.weight, Settings())
    assert (class_weights(table, roles, Settings()) == 1).all()
    assert list(class_weights(table, roles, Settings(class_weight={0: 0.5, "1": 2.0}))) == [0.5, 2.0]


def test_a_class_weight_of_an_unknown_class_is_an_error() -> None:
    with pytest.raises(SettingsError, match="class_weight has the class 'maybe'; the target has 0, 1"):
        trained_on(table_of(), settings_of(class_weight={"maybe": 2.0}))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_mass_of_a_row_is_its_smoothed_target_times_its_weight(smoothing: float) -> None:
    table, weight = table_of(30, 3), np.arange(1.0, 31.0)
    mass = class_mass(table.y, weight, table, Settings(label_smoothing=smoothing))
    target = np.eye(3)[table.y] * (1 - smoothing) + smoothing / 3
    np.testing.assert_allclose(mass, target * (weight / weight.mean())[:, None], rtol=1e-6)


@pytest.mark.parametrize("weight", [np.ones(5), np.where(np.arange(60) == 3, -1.0, 1.0), np.full(60, np.nan)])
def test_weights_that_do_not_fit_the_rows_are_an_error(weight: FloatArray) -> None:
    with pytest.raises(TableError, match="weight"):
        trained_on((*noisy_rows(60), weight), settings_of())


# Roles


def test_no_row_that_trains_or_stops_is_scored() -> None:
    table = table_of(200)
    predictor = fit(table, settings_of())
    roles = split_roles(table.X, table.y, table.weight, predictor.settings)
    expected = evaluate(predictor.logits(table.X[roles.score]), table.y[roles.score], np.ones(len(roles.score)), 1)
    assert predictor.report.evaluation.metrics == expected.metrics
    assert predictor.report.evaluation.n_rows == len(roles.score) == predictor.report.n_score
    assert (predictor.report.n_train, predictor.report.n_stop) == (len(roles.train), len(roles.stop))


def test_rows_that_score_do_not_change_the_model() -> None:
    X, y = noisy_rows(90)
    roles = Roles(np.arange(50), np.arange(50, 70), np.arange(70, 90))
    first = trained_on((X, y), settings_of(), roles=roles)
    other_X, other_y = X.copy(), y.copy()
    other_X[70:] *= 100
    other_y[70:] = 1 - y[70:]
    other = trained_on((other_X, other_y), settings_of(), roles=roles)
    np.testing.assert_array_equal(logits_of(first, X), logits_of(other, X))


def test_columns_are_standardised_by_the_training_rows_alone() -> None:
    X, y = noisy_rows(90)
    roles = Roles(np.arange(50), np.arange(50, 70), np.arange(70, 90))
    trained = trained_on((X, y), settings_of(max_epochs=1), roles=roles)
    np.testing.assert_allclose(trained.module[0].centre, X[:50].mean(axis=0), rtol=1e-10)
    np.testing.assert_allclose(trained.module[0].scale, 1 / X[:50].std(axis=0), rtol=1e-10)


def test_roles_beside_rows_of_weight_zero_are_an_error_because_those_rows_are_left_out() -> None:
    weight = np.ones(60)
    weight[:10] = 0  # without these rows every other row has another number
    roles = Roles(np.arange(10, 40), np.arange(40, 45), np.arange(45, 50))
    with pytest.raises(TrainingError, match="rows of weight 0"):
        trained_on((*noisy_rows(60), weight), settings_of(), roles=roles)


def test_batch_norm_with_one_training_row_is_an_error() -> None:
    X, y = noisy_rows(20)
    roles = Roles(np.array([0]), np.arange(1, 10), np.arange(10, 20))
    with pytest.raises(TrainingError, match="needs two rows in a step; there are 1 training rows in batches of 1"):
        trained_on((X, y), settings_of(batch_norm=True), roles=roles)


def test_batch_norm_with_batches_of_one_is_an_error() -> None:
    with pytest.raises(TrainingError, match="batches of 1: make batch_size at least 2, or use a model without it"):
        trained_on(table_of(), settings_of(model="residual", batch_size=1))


# Stopping


@pytest.mark.parametrize("monitor", ["accuracy", "roc_auc"])
def test_another_metric_stops_early(monitor: str) -> None:
    trained = trained_on(table_of(200), settings_of(monitor=monitor, patience=5, max_epochs=200))
    scores = [record.score for record in trained.history]
    assert trained.stop_reason == "patience"
    assert trained.best_epoch == 1 + int(np.argmax(scores)) == len(scores) - 5


def test_ctrl_c_gives_a_module_with_the_best_weights_so_far() -> None:
    def interrupt(progress: Progress) -> None:
        if len(progress.history) == 6:
            raise KeyboardInterrupt

    table = table_of()
    with pytest.warns(
        TabcohortWarning, match=r"^interrupted: the best weights so far are kept, those of epoch \d of 6$"
    ):
        interrupted = trained_on(table, settings_of(), watch=interrupt)
    assert (interrupted.stop_reason, len(interrupted.history)) == ("interrupted", 6)
    whole = trained_on(table, settings_of(max_epochs=6))
    np.testing.assert_array_equal(logits_of(interrupted, table.X), logits_of(whole, table.X))


def test_a_loss_that_is_not_finite_names_member_epoch_and_step() -> None:
    settings = settings_of(optimizer="sgd", learning_rate=1e30, batch_size=16)
    with pytest.raises(TrainingError, match=r"of member 0 stopped being finite at epoch 1, step \d of \d; a smaller"):
        trained_on(table_of(), settings)


# Any module, and what does not fit


def test_any_module_can_be_trained_in_double_precision_too() -> None:
    X, y = noisy_rows(90, 3)
    module = nn.Sequential(nn.Linear(4, 12), nn.Tanh(), nn.LayerNorm(12), nn.Linear(12, 3)).double()
    draw_weights(module, seed=0)
    trained = train(module, (X, y), settings_of(max_epochs=40))
    assert trained.module is module
    assert next(module.parameters()).dtype == torch.float64
    assert trained.history[-1].train_loss < 0.8 * trained.history[0].train_loss
    found = score(module, make_table(X, y), trained.roles, seed=0)
    assert found.n_rows == len(trained.roles.score)


def test_a_module_starts_from_the_weights_that_it_comes_with() -> None:
    X, y = noisy_rows(60)
    module = nn.Linear(4, 1)
    with torch.no_grad():
        module.weight[:] = torch.tensor([[3.0, 0.0, 0.0, 0.0]])
        module.bias.zero_()
    before = module.weight.clone()
    train(module, (X, y), settings_of(learning_rate=0.0, max_epochs=2))
    assert torch.equal(module.weight, before)


def test_a_target_of_one_column_is_a_target() -> None:
    X, y = noisy_rows(60)
    flat, column = nn.Linear(4, 1), nn.Linear(4, 1)
    for module, target in ((flat, y), (column, y[:, None])):
        draw_weights(module, seed=0)
        train(module, (X, target), settings_of())
    assert torch.equal(flat.weight, column.weight)


def test_a_module_of_one_dimension_is_an_error() -> None:
    module = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
    with pytest.raises(TrainingError, match=r"must return logits of shape .* for 2 rows it returned \(2,\)"):
        train(module, noisy_rows(60), settings_of())


def test_standardize_of_another_width_is_an_error() -> None:
    module = nn.Sequential(Standardize(3), nn.Linear(3, 1))
    with pytest.raises(TrainingError, match="Standardize is of 3 features; the table has 4"):
        train(module, noisy_rows(60), settings_of())


@pytest.mark.parametrize("data", [None, (np.ones((4, 2)),), [np.ones((4, 2)), np.ones(4)], (1, 2, 3, 4)])
def test_data_that_is_neither_table_nor_arrays_is_an_error(data: Any) -> None:
    with pytest.raises(TrainingError, match=r"the data must be a Table or arrays \(X, y\) or \(X, y, sample_weight\)"):
        train(nn.Linear(2, 1), data, settings_of())


def test_mixup_and_smoothing_are_used_in_training_and_never_in_stopping() -> None:
    table = table_of(200)
    plain = trained_on(table, settings_of(learning_rate=0.0, max_epochs=1, dropout=0.0)).history[0]
    softened = trained_on(
        table, settings_of(learning_rate=0.0, max_epochs=1, dropout=0.0, label_smoothing=0.4, mixup_alpha=1.0)
    ).history[0]
    assert softened.stop_loss == plain.stop_loss
    assert abs(softened.train_loss - plain.train_loss) > 1e-3


# Repeated rows


@pytest.mark.parametrize("batch_size", ["full", 32])
def test_batch_norm_has_the_mean_of_all_training_rows_also_where_many_are_equal(batch_size: int | str) -> None:
    X, y = noisy_rows(8)
    X, y = np.repeat(X, [82, 2, 2, 2, 2, 2, 2, 2], axis=0), np.repeat(np.arange(8) % 2, [82, 2, 2, 2, 2, 2, 2, 2])
    other_X, other_y = noisy_rows(20, seed=1)
    roles = Roles(np.arange(96), np.arange(96, 106), np.arange(106, 116))
    module = nn.Sequential(nn.BatchNorm1d(4, momentum=None), nn.Linear(4, 1)).double()  # a plain mean of all batches
    data = np.concatenate([X, other_X]), np.concatenate([y, other_y])
    train(module, data, settings_of(batch_size=batch_size, max_epochs=1), roles=roles)
    steps = {"full": 1, 32: 3}[batch_size]
    assert int(module[0].num_batches_tracked) == steps
    torch.testing.assert_close(module[0].running_mean, torch.from_numpy(X.mean(axis=0)), rtol=1e-6, atol=1e-6)


def test_a_batch_size_that_is_given_is_kept_where_few_rows_are_different() -> None:
    X, y = np.repeat(np.eye(4), 25, axis=0), np.repeat([0, 1, 0, 1], 25)
    roles = Roles(np.arange(0, 80), np.arange(80, 90), np.arange(90, 100))
    module = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 1))
    trained = train(module, (X, y), settings_of(batch_size=32, max_epochs=2), roles=roles)
    assert int(module[0].num_batches_tracked) == trained.best_epoch * 3
    sizes: list[int] = []
    plain = nn.Linear(4, 1)
    plain.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])) if module.training else None)
    train(plain, (X, y), settings_of(batch_size=32, max_epochs=1), roles=roles)
    assert sizes == [32, 32, 16]


# What does not fit


@pytest.mark.parametrize("positive", ["no", "maybe"])
def test_a_positive_class_that_is_not_that_of_the_table_is_an_error(positive: str) -> None:
    X, y = noisy_rows(60)
    table = make_table(X, np.array(["no", "yes"])[y])
    with pytest.raises(SettingsError, match=f"'positive' is '{positive}' and the table's positive class is 'yes'"):
        fit(table, settings_of(positive=positive))
    assert fit(table, settings_of(positive="yes", max_epochs=1)).schema.positive == 1


@pytest.mark.parametrize(
    "module",
    [
        nn.Sequential(nn.Linear(4, 4), Standardize(4), nn.Linear(4, 1)),
        nn.Sequential(Standardize(4), Standardize(4), nn.Linear(4, 1)),
        nn.Sequential(nn.Sequential(Standardize(4), nn.Linear(4, 1))),
        Standardize(4),
    ],
    ids=["second", "twice", "nested", "alone"],
)
def test_standardize_in_another_place_is_an_error(module: nn.Module) -> None:
    if isinstance(module, Standardize):
        module = nn.ModuleDict({"first": module})
    with pytest.raises(TrainingError, match=r"Standardize can be fitted only as the first layer of an nn\.Sequential"):
        train(module, noisy_rows(60), settings_of())


def test_after_a_divergence_the_module_is_left_by_itself() -> None:
    module = nn.Sequential(Standardize(4), nn.Linear(4, 8), nn.Linear(8, 1))
    draw_weights(module, seed=0)
    with pytest.raises(TrainingError, match="stopped being finite"):
        train(module, noisy_rows(60), settings_of(optimizer="sgd", learning_rate=1e30, batch_size=16))
    parameters = list(module.parameters())
    assert len({parameter.untyped_storage().data_ptr() for parameter in parameters}) == len(parameters) == 4
    assert all(parameter.grad is None for parameter in parameters)
    assert not any(layer.training for layer in module.modules())


def test_roles_beyond_the_table_are_an_error() -> None:
    roles = Roles(np.arange(40), np.arange(40, 50), np.array([60]))
    with pytest.raises(TrainingError, match=r"the roles name row 60, counted from 0, and the table has 60 rows"):
        trained_on(noisy_rows(60), settings_of(), roles=roles)


def test_roles_of_plain_lists_train() -> None:
    roles = Roles(list(range(40)), list(range(40, 50)), list(range(50, 60)))  # type: ignore[arg-type]
    arrays = Roles(np.arange(40), np.arange(40, 50), np.arange(50, 60))
    X, y = noisy_rows(60)
    one, other = (trained_on((X, y), settings_of(max_epochs=2), roles=each) for each in (roles, arrays))
    np.testing.assert_array_equal(logits_of(one, X), logits_of(other, X))


def test_rows_of_one_key_of_a_table_have_one_role() -> None:
    X, y = noisy_rows(120)
    table = make_table(X, y, key=np.arange(120) // 4)
    trained = trained_on(table, settings_of(max_epochs=1))
    keys = [set(table.key[rows]) for rows in (trained.roles.train, trained.roles.stop, trained.roles.score)]
    assert not keys[0] & keys[1] | keys[0] & keys[2] | keys[1] & keys[2]
    assert len(trained.roles.stop) % 4 == len(trained.roles.score) % 4 == 0


def test_rows_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(TableError, match="the rows and their weights must be arrays of numbers"):
        train(nn.Linear(1, 1), ([["red"], ["blue"]], [0, 1]))


def test_a_plan_without_any_update_leaves_the_module_as_it_was() -> None:
    X, y = noisy_rows(60)
    module = nn.Sequential(nn.BatchNorm1d(X.shape[1]), nn.Linear(X.shape[1], 1))
    with pytest.raises(TrainingError, match="batch normalisation needs two rows in a step"):
        train(module, (X, y), settings_of(batch_size=1))
    assert all(parameter.grad is None for parameter in module.parameters())
    assert len({parameter.untyped_storage().data_ptr() for parameter in module.parameters()}) == 4
