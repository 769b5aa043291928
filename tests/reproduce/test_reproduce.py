"""The experiments, at a tiny size, and the synthetic patents against their closed forms."""

from __future__ import annotations

import importlib
import io
import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from tabcohort.cohort.search import grid
from tabcohort.data.splits import train_validation_test_split
from tabcohort.errors import SettingsError, TabcohortWarning
from tabcohort.evaluation.intervals import wilson
from tabcohort.reporting.terminal import ProgressDisplay
from tabcohort.reproduce import cancer, descents, mistakes, patent, patent_grid, scratch, wine
from tabcohort.reproduce.experiments import EXPERIMENTS, run, run_grid
from tabcohort.reproduce.findings import Findings, Mistake, Row, Sheet, Spread, spread
from tabcohort.reproduce.runs import Ticker, epochs_on_all_rows, sample_table, starting_module, train_to_the_end
from tabcohort.settings import Config


@pytest.fixture
def messages() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def pairs() -> patent.Pairs:
    return patent.patent_pairs(50_000, seed=3)


@pytest.fixture(scope="module")
def cancer_findings() -> Findings:
    short = replace(cancer.DOCUMENT, max_epochs=40)
    network = replace(cancer.NETWORK, hidden=(32,), learning_rate=2e-2, max_epochs=200)
    return cancer.run(Console(file=io.StringIO()), seeds=3, settings=short, network=network)


def check_document(findings: Findings) -> None:
    """What the command line asks of findings: JSON without NaN, and a printed line per mistake."""
    text = json.dumps(findings.to_dict(), allow_nan=False)
    assert json.loads(text)["experiment"] == findings.name
    out = io.StringIO()
    findings.print(Console(file=out, width=200))
    assert out.getvalue().count("- the document ") == len(findings.mistakes)
    for sheet in findings.sheets:
        assert all(len(row.cells) == len(sheet.columns) for row in sheet.rows)


def row_of(findings: Findings, what: str) -> Row:
    return next(row for sheet in findings.sheets for row in sheet.rows if row.what.startswith(what))


def figures_of(findings: Findings, start: str) -> dict[str, float]:
    return next(mistake.figures for mistake in findings.mistakes if mistake.document.startswith(start))


# --- findings -------------------------------------------------------------------------------------------------------


def test_spread_is_mean_and_sample_deviation() -> None:
    assert spread([1, 2, 6]) == Spread(3.0, pytest.approx(math.sqrt(7)), 3)
    assert spread([0.5]).show(".1%") == "50.0%"
    assert spread([0.5, 0.7]).show("+.1%") == "+60.0% ± 14.1%"
    assert spread([1, 2, 6]).error == pytest.approx(math.sqrt(7 / 3))
    assert math.isnan(spread([1]).error)


def test_values_that_are_not_finite_become_null_in_json() -> None:
    sheet = Sheet("t", ("a", "b", "c"), (Row("r", (math.nan, spread([math.inf]), "words")),))
    findings = Findings("x", "x", (), (sheet,), (Mistake("errs", "so", {"f": math.nan}),), 1.0)
    document = findings.to_dict()
    cells = document["tables"][0]["rows"][0]["cells"]
    assert cells == [None, {"mean": None, "standard_deviation": None, "seeds": 1}, "words"]
    assert document["mistakes"][0]["figures"] == {"f": None}


def test_brackets_in_texts_are_printed_and_not_read_as_markup() -> None:
    out = io.StringIO()
    findings = Findings("x", "[title]", ("[note]",), (Sheet("[s]", ("[c]",), (Row("[r]", (1.0,)),)),), (), 1.0)
    findings.print(Console(file=out, width=120))
    assert all(word in out.getvalue() for word in ("[title]", "[note]", "[s]", "[c]", "[r]"))


def test_unknown_experiment_is_refused_with_the_nearest_name(messages: Console) -> None:
    with pytest.raises(SettingsError, match=r"there is no experiment 'canser' .did you mean 'cancer'"):
        run("canser", None, messages)


def test_importing_the_package_does_not_import_pytorch() -> None:
    code = "import sys, tabcohort.reproduce; sys.exit(int('torch' in sys.modules or 'sklearn' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_run_repeats_as_often_as_asked_and_says_what_it_loads(
    messages: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, ...]] = []
    empty = Findings("wine", "", (), (), (), 0.0)
    monkeypatch.setattr(wine, "run", lambda messages, *seeds: asked.append(seeds) or empty)
    assert run("wine", 4, messages) is empty
    run("wine", None, messages)
    assert asked == [(4,), ()]
    assert "loading" in messages.file.getvalue()  # type: ignore[attr-defined]


def test_ticker_shows_a_line_when_it_is_time(messages: Console) -> None:
    with Ticker(messages) as ticker:
        ticker.say("first")
        ticker.say("too early")
        ticker.shown -= 2
        ticker.say("in time")
    assert messages.file.getvalue() == "first\nin time\n"  # type: ignore[attr-defined]


def test_ticker_draws_a_live_line_in_a_terminal() -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True)
    with Ticker(terminal) as ticker:
        ticker.say("alive")
        assert terminal.is_terminal
    assert "starting" in terminal.file.getvalue() or "alive" in terminal.file.getvalue()  # type: ignore[attr-defined]


def test_ctrl_c_ends_the_experiment() -> None:
    table = sample_table("wine")
    settings = Config(model="logistic", max_epochs=5)

    def interrupt(progress: object) -> None:
        raise KeyboardInterrupt

    roles = train_validation_test_split(table.X, table.y, table.weight, settings)
    with pytest.warns(TabcohortWarning, match="^interrupted: "), pytest.raises(KeyboardInterrupt):
        train_to_the_end(starting_module(table, settings), table, settings, roles, interrupt)


def test_epochs_on_all_rows_measure_the_network_after_the_epoch() -> None:
    table = sample_table("wine")
    settings = Config(model="logistic", batch_size=32, device="cpu")
    network = starting_module(table, settings)[1]
    inputs = ((table.X - table.X.mean(0)) / table.X.std(0)).astype(np.float32)
    epochs = epochs_on_all_rows(network, inputs, table, settings)
    next(epochs)
    second = next(epochs)
    assert (second.epoch, second.updates) == (2, 12)
    import torch
    import torch.nn.functional as F

    with torch.no_grad():
        logits = network(torch.from_numpy(inputs))
    truth = torch.from_numpy(table.y)
    assert second.loss == pytest.approx(F.cross_entropy(logits, truth).item(), rel=1e-5)
    assert second.accuracy == pytest.approx((logits.argmax(1) == truth).double().mean().item())


# --- synthetic patents ----------------------------------------------------------------------------------------------


def test_pairs_have_the_documents_means_and_scales_and_lie_in_the_unit_interval(pairs: patent.Pairs) -> None:
    assert pairs.X.min() >= 0
    assert pairs.X.max() <= 1
    np.testing.assert_allclose(pairs.X.mean(axis=0), patent.MEANS, atol=0.006)
    np.testing.assert_allclose(pairs.X.std(axis=0), patent.SCALES, atol=0.006)
    assert set(np.unique(pairs.X[:, patent.ASSIGNEE_MATCH])) == {0.0, 1.0}
    correlation = np.corrcoef(pairs.X.T)
    assert 0.3 < correlation[0, 8] < 0.7


def test_pairs_are_the_same_for_the_same_seed_only() -> None:
    first, again, other = (patent.patent_pairs(100, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.X, again.X)
    np.testing.assert_array_equal(first.y, again.y)
    assert not np.array_equal(first.X, other.X)


def test_labels_come_as_often_as_their_probability_says(pairs: patent.Pairs) -> None:
    decile = np.argsort(np.argsort(pairs.probability)) * 10 // len(pairs.y)
    for part in range(10):
        p, y = pairs.probability[decile == part], pairs.y[decile == part]
        assert abs(y.mean() - p.mean()) < 4.5 * math.sqrt((p * (1 - p)).mean() / len(y)) + 1e-4


def test_best_possible_auc_is_the_documents(pairs: patent.Pairs) -> None:
    assert patent.expected_auc(pairs.probability, pairs.probability) == pytest.approx(0.972, abs=1e-3)
    assert roc_auc_score(pairs.y, pairs.probability) == pytest.approx(0.972, abs=3e-3)


@pytest.mark.parametrize("n_levels", [None, 3])
def test_expected_auc_is_the_sum_over_pairs(n_levels: int | None) -> None:
    rng = np.random.default_rng(5)
    probability = rng.random(40)
    score = rng.normal(size=40) if n_levels is None else rng.integers(n_levels, size=40).astype(float)
    won = total = 0.0
    for i in range(40):
        for j in range(40):
            if i != j:
                weight = probability[i] * (1 - probability[j])
                won += weight * ((score[i] > score[j]) + (score[i] == score[j]) / 2)
                total += weight
    assert patent.expected_auc(score, probability) == pytest.approx(won / total, rel=1e-12)


def test_expected_auc_with_certain_labels_is_the_auc() -> None:
    rng = np.random.default_rng(6)
    y = rng.integers(2, size=200)
    score = np.round(rng.normal(size=200) + y, 1)
    assert patent.expected_auc(score, y.astype(float)) == pytest.approx(roc_auc_score(y, score))


def test_no_score_beats_the_true_probability(pairs: patent.Pairs) -> None:
    p = pairs.probability[:2_000]
    noise = np.random.default_rng(7).normal(size=2_000)
    best = patent.expected_auc(p, p)
    assert all(patent.expected_auc(p + scale * noise, p) < best for scale in (0.01, 0.1, 1.0))


# --- the experiments ------------------------------------------------------------------------------------------------


def test_cancer_runs_to_its_end(cancer_findings: Findings) -> None:
    check_document(cancer_findings)
    accuracy = row_of(cancer_findings, "test accuracy").cells
    assert accuracy[0] == 0.965
    assert all(isinstance(cell, Spread) and cell.n == 3 and 0.8 < cell.mean <= 1 for cell in accuracy[1:])
    assert row_of(cancer_findings, "epochs until it stopped").cells[1] == Spread(40.0, 0.0, 3)
    assert row_of(cancer_findings, "train loss of epoch 50").cells[1] is None  # no run came so far


def test_cancer_shallow_copy_restores_the_last_weights(cancer_findings: Findings) -> None:
    figures = figures_of(cancer_findings, "keeps its best weights")
    assert figures["network_restored_loss"] > figures["network_recorded_loss"]
    assert figures["network_runs_restored_to_last"] == figures["network_runs"] == 3


def test_cancer_stopping_on_test_rows_flatters() -> None:
    table = sample_table("breast-cancer")
    settings = replace(cancer.NETWORK, hidden=(32,), learning_rate=1e-2, patience=10, max_epochs=60)
    with Ticker(Console(file=io.StringIO())) as ticker:
        few = [cancer.run_on_few_rows(table, settings, seed, ticker) for seed in range(6)]
    assert cancer.stopping_on_test_rows(few, few).figures["network_log_loss"] < 0


def test_cancer_recall_of_class_1_is_that_of_benign_rows(cancer_findings: Findings) -> None:
    figures = figures_of(cancer_findings, "takes label 1")
    assert figures["recall_of_class_1"] > figures["malignant_sensitivity"]
    assert (figures["n_malignant"], figures["n_test"]) == (42, 114)


def test_descents_run_to_their_end(messages: Console) -> None:
    findings = descents.run(messages, seeds=1, target=0.3)
    check_document(findings)
    updates = row_of(findings, "updates").cells
    assert all(isinstance(cell, Spread) for cell in updates)
    assert all(cell == Spread(1.0, None, 1) for cell in row_of(findings, "share of runs that reached it").cells)
    figures = findings.mistakes[0].figures
    assert figures["lesson_loss"] > 1 > figures["gradient_loss"]


def test_descent_says_when_its_epochs_ran_out(messages: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descents, "MOST_EPOCHS", 2)
    table = sample_table("wine")
    with Ticker(messages) as ticker:
        found = descents.descend(
            table, table.X.astype(np.float32), replace(descents.SGD, learning_rate=0.0), 0.0, ticker
        )
    assert (found.epochs, found.reached) == (2, False)


def test_wine_runs_to_its_end(messages: Console) -> None:
    findings = wine.run(messages, seeds=2, honest=replace(wine.UNTIL_IT_STOPS, max_epochs=5))
    check_document(findings)
    figures = figures_of(findings, "trains on raw columns")
    assert figures["raw_first_loss"] > 2 * math.log(3)
    assert figures["raw_accuracy"] < figures["standardised_accuracy"]
    assert len(findings.sheets[0].rows) == 10


def test_patent_runs_to_its_end(messages: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABCOHORT_DATA", "/nowhere")
    settings = replace(patent.DOCUMENT, hidden=(16,), batch_size=32, max_epochs=6)
    findings = patent.run(messages, seeds=2, rows=(1_000, 300, 301), settings=settings)
    check_document(findings)
    ours, best = row_of(findings, "ROC AUC, expected over labels").cells[2:]
    assert isinstance(ours, Spread)
    assert isinstance(best, Spread)
    assert 0.8 < ours.mean < best.mean < 0.98
    assert any("SYNTHETIC" in note for note in findings.notes)
    assert any("MAGIC was left out" in note for note in findings.notes)
    assert figures_of(findings, "sums its parameters") == {"claimed": 118_421, "counted": 73_365}


def small_grid(n_settings: int) -> list[Config]:
    """Return settings of which all but the first four learn too slowly to keep up."""
    rates = [0.01, 0.02, 0.03, 0.04, *[1e-5] * n_settings][:n_settings]
    base = replace(patent_grid.BASE, hidden=(8,), batch_size=32, max_epochs=8, patience=None)
    return [replace(base, learning_rate=rate) for rate in rates]


def test_patent_grid_ranks_its_settings_and_judges_the_ensemble_on_new_pairs(messages: Console) -> None:
    findings = patent_grid.run(messages, halving=True, n_rows=400, settings=small_grid(6))
    check_document(findings)
    assert findings.title == (
        "the patent network's tuning on synthetic pairs: 6 settings x 3 folds of 400 rows, with halving"
    )
    ranked = findings.sheets[0].rows
    assert len(ranked) == 6
    losses = [row.cells[0] for row in ranked]
    assert losses[:4] == sorted(losses[:4])  # type: ignore[type-var]
    assert all("learning_rate 1e-05" in row.what for row in ranked[4:])  # those that were dropped come last
    assert sum(row.cells[2] for row in ranked) == pytest.approx(1)  # type: ignore[misc]
    seconds = row_of(findings, "seconds").cells
    assert seconds == (19_518.0, findings.seconds, None)
    _, ours, best = row_of(findings, "ROC AUC of 20,000 new pairs").cells
    assert 0.7 < ours < best < 0.98  # type: ignore[operator]
    assert any("SYNTHETIC" in note for note in findings.notes)
    assert any(note.startswith("2 settings were dropped early, which saved about ") for note in findings.notes)


def test_patent_grid_without_halving_drops_nothing(messages: Console) -> None:
    findings = patent_grid.run(messages, halving=False, n_rows=400, settings=small_grid(5))
    check_document(findings)
    assert findings.title.endswith("5 settings x 3 folds of 400 rows, without halving")
    assert not any("dropped" in note for note in findings.notes)
    assert any(note == f"{5 * 3 * 8} epochs in all" for note in findings.notes)


def test_patent_grid_is_54_settings_around_the_documents() -> None:
    tried = grid(patent_grid.GRID, patent_grid.BASE)
    assert len({str(settings) for settings in tried}) == 54
    own = {name: getattr(patent.DOCUMENT, name) for name in patent_grid.GRID}
    assert any(all(getattr(settings, name) == value for name, value in own.items()) for settings in tried)


def test_run_grid_runs_the_patent_grid_as_asked(messages: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    empty = Findings("patent grid", "", (), (), (), 0.0)
    monkeypatch.setattr(patent_grid, "run", lambda messages, halving: asked.append(halving) or empty)
    assert run_grid(messages, halving=False) is empty
    assert asked == [False]


def test_ctrl_c_ends_the_patent_grid(messages: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(shown: ProgressDisplay, progress: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ProgressDisplay, "__call__", interrupt)
    with pytest.warns(TabcohortWarning, match="^interrupted: "), pytest.raises(KeyboardInterrupt):
        patent_grid.run(messages, halving=True, n_rows=400, settings=small_grid(1))


def test_patent_uses_magic_where_it_is(
    messages: Console, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{'g' if a > b else 'h'}" for a, b in rng.normal(size=(300, 2))]
    (folder / patent.MAGIC_FILE).write_text("\n".join(["x1,x2,label", *rows]))
    monkeypatch.setenv("TABCOHORT_DATA", str(folder))
    settings = replace(patent.DOCUMENT, hidden=(8,), max_epochs=2, batch_size=64)
    findings = patent.run(messages, rows=(300, 100, 100), settings=settings)
    assert findings.sheets[1].title.startswith("MAGIC")
    check_document(findings)


def test_scratch_runs_to_its_end_and_both_engines_agree(messages: Console) -> None:
    findings = scratch.run(messages, seeds=2, settings=replace(scratch.DOCUMENT, hidden=(4,), max_epochs=10))
    check_document(findings)
    scores, seconds, differences = findings.sheets
    assert [row.what for row in scores.rows] == list(scratch.next_steps(scratch.DOCUMENT))
    for row in scores.rows:
        compiled, pytorch, *losses = row.cells
        assert all(isinstance(cell, Spread) and cell.n == 2 for cell in row.cells)
        assert compiled == pytorch
        assert 0.7 < compiled.mean <= 1  # type: ignore[union-attr]
        assert losses[0].mean == pytest.approx(losses[1].mean, rel=1e-5)  # type: ignore[union-attr]
    assert all(0 < row.cells[0].mean < 5 for row in seconds.rows)  # type: ignore[operator, union-attr]
    assert all(0 <= row.cells[0] < 1e-5 for row in differences.rows)  # type: ignore[operator]
    assert any("no claim to compare with" in note for note in findings.notes)


def test_scratch_takes_one_next_step_at_a_time() -> None:
    document, *steps = (settings.to_dict() for settings in scratch.next_steps(scratch.DOCUMENT).values())
    changed = [{name: step[name] for name in step if step[name] != document[name]} for step in steps]
    assert changed == [{"momentum": 0.9}, {"dropout": 0.2}, {"batch_norm": True}]
    assert (document["optimizer"], document["momentum"], document["weight_decay"]) == ("sgd", 0.0, 0.0)
    assert (document["batch_size"], document["max_epochs"], document["patience"]) == (32, 100, None)


def test_scratch_measures_the_scoring_rows_by_their_probabilities() -> None:
    table = sample_table("breast-cancer")
    settings = replace(scratch.DOCUMENT, engine="torch", max_epochs=3, seed=4)
    found = scratch.train_once(table, settings)
    rows = train_validation_test_split(table.X, table.y, table.weight, settings).score
    assert found.probability.shape == (569,)
    assert found.metrics["accuracy"] == accuracy_score(table.y[rows], found.probability[rows] > 0.5)
    assert found.metrics["log_loss"] == pytest.approx(log_loss(table.y[rows], found.probability[rows]), rel=1e-9)


def test_scratch_times_nothing_before_both_engines_are_ready(
    messages: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, int, int]] = []

    def train_once(table: object, config: Config) -> scratch.EngineRun:
        trained.append((settings.engine, settings.max_epochs, settings.seed))
        return scratch.EngineRun({}, np.full(3, 0.5 if settings.engine == "torch" else 0.25), float(len(trained)))

    monkeypatch.setattr(scratch, "train_once", train_once)
    with Ticker(messages) as ticker:
        pairs = scratch.train_pairs(sample_table("breast-cancer"), scratch.DOCUMENT, 2, ticker, "x")
    assert trained[:2] == [("compiled", 1, 0), ("torch", 1, 0)]
    assert trained[2:] == [("compiled", 100, 0), ("torch", 100, 0), ("compiled", 100, 1), ("torch", 100, 1)]
    assert [(pair.compiled.seconds, pair.pytorch.seconds) for pair in pairs] == [(3.0, 4.0), (5.0, 6.0)]
    assert pairs[0].difference == 0.25


def test_scratch_shows_each_engine_in_its_columns_and_the_mean_of_the_ratios() -> None:
    def trained(accuracy: float, loss: float, probability: float, seconds: float) -> scratch.EngineRun:
        return scratch.EngineRun({"accuracy": accuracy, "log_loss": loss}, np.array([0.5, probability]), seconds)

    first = scratch.Pair(trained(0.8, 0.3, 0.25, 1.0), trained(0.9, 0.4, 0.5, 4.0))
    second = scratch.Pair(trained(0.6, 0.1, 0.5, 2.0), trained(0.7, 0.2, 0.5, 4.0))
    rows = [sheet.rows[0].cells for sheet in scratch.sheets({"x": [first, second]}, 100)]
    assert rows[0] == tuple(map(spread, ([0.8, 0.6], [0.9, 0.7], [0.3, 0.1], [0.4, 0.2])))
    assert rows[1] == tuple(map(spread, ([1, 2], [4, 4], [4, 2])))
    assert rows[2] == (0.25,)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_is_a_module_of_its_name(name: str) -> None:
    assert callable(importlib.import_module(f"tabcohort.reproduce.{name}").run)


# --- mistakes that need no training ---------------------------------------------------------------------------------


def test_xavier_bound_is_wider_than_the_documents() -> None:
    figures = mistakes.xavier_bound().figures
    assert figures["largest_weight"] == pytest.approx(math.sqrt(6 / 31), rel=1e-3)
    assert figures["standard_deviation"] == pytest.approx(math.sqrt(2 / 31), rel=0.02)
    assert figures["standard_deviation_within_document_bound"] == pytest.approx(math.sqrt(2 / 93), rel=0.02)


def test_epsilon_under_the_root_stifles_small_gradients() -> None:
    figures = mistakes.epsilon_under_root().figures
    assert figures["step"] == pytest.approx(1e-3 / 1.01)
    assert figures["ratio"] == pytest.approx(99.0, rel=0.01)


def test_adamw_decay_is_scaled_by_the_rate() -> None:
    figures = mistakes.adamw_decay().figures
    assert figures["shrinkage"] == pytest.approx(1 - (1 - 2e-8) ** 1_000, rel=1e-6)
    assert figures["document_shrinkage"] == pytest.approx(1 - (1 - 1e-5) ** 1_000, rel=1e-6)
    assert figures["shrinkage_in_float32"] == 0


def test_loss_on_probabilities_loses_its_gradient() -> None:
    figures = mistakes.loss_on_probabilities().figures
    assert figures["gradient"] == 0
    assert figures["gradient_on_logits"] == pytest.approx(1)
    assert 15 <= figures["logit"] <= 18


def test_rows_left_over_are_43() -> None:
    assert patent.rows_left_over(patent.N_TRAIN).figures == {"left_over": 43, "claimed": 27}


def test_stopping_rows_and_scoring_rows_agree_with_many_rows() -> None:
    low, high = wilson(0.917 * patent.N_SCORE, patent.N_SCORE)
    assert high - low < 0.012  # so the claims' accuracies, 0.917 and 0.912, are one and the same
