"""The patent network's tuning, at a tiny size."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reproduce_helpers import check_document, row_of
from rich.console import Console

from tabcohort.cohort.progress import RunProgress
from tabcohort.cohort.search import grid
from tabcohort.errors import TabcohortWarning
from tabcohort.reporting.progress_displays import ProgressDisplay
from tabcohort.reproduce import patent, patent_grid
from tabcohort.settings import Config


def small_grid(n_configs: int) -> list[Config]:
    """Return configs of which all but the first four learn too slowly to keep up."""
    rates = [0.01, 0.02, 0.03, 0.04, *[1e-5] * n_configs][:n_configs]
    base = replace(patent_grid.BASE, hidden=(8,), batch_size=32, max_epochs=8, patience=None)
    return [replace(base, learning_rate=rate) for rate in rates]


def test_patent_grid_ranks_its_configs_and_measures_the_ensemble_on_new_pairs(messages: Console) -> None:
    findings = patent_grid.run(messages, halving=True, n_rows=400, configs=small_grid(6))
    check_document(findings)
    assert findings.title == (
        "the patent network's tuning on synthetic pairs: 6 configs x 3 folds of 400 rows, with halving"
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
    assert any(note.startswith("2 configs were dropped early, which saved about ") for note in findings.notes)


def test_patent_grid_without_halving_drops_nothing(messages: Console) -> None:
    findings = patent_grid.run(messages, halving=False, n_rows=400, configs=small_grid(5))
    check_document(findings)
    assert findings.title.endswith("5 configs x 3 folds of 400 rows, without halving")
    assert not any("dropped" in note for note in findings.notes)
    assert any(note == f"{5 * 3 * 8} epochs in all" for note in findings.notes)


def test_patent_grid_is_54_configs_around_the_documents() -> None:
    configs = grid(patent_grid.GRID, patent_grid.BASE)
    assert len({str(config) for config in configs}) == 54
    own = {name: getattr(patent.DOCUMENT, name) for name in patent_grid.GRID}
    assert any(all(getattr(config, name) == value for name, value in own.items()) for config in configs)


def test_ctrl_c_ends_the_patent_grid(messages: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(display: ProgressDisplay, progress: RunProgress) -> None:
        if progress.n_epochs:
            raise KeyboardInterrupt

    monkeypatch.setattr(ProgressDisplay, "__call__", interrupt)
    with pytest.warns(TabcohortWarning, match="^interrupted: "), pytest.raises(KeyboardInterrupt):
        patent_grid.run(messages, halving=True, n_rows=400, configs=small_grid(1))
