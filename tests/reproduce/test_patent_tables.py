"""The result tables of the patent document, from trainings that are made up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from reproduce_helpers import check_document, row_of, silent_console

from tabcohort.reproduce import patent, patent_tables
from tabcohort.reproduce.claims import CANNOT, FAILS, HOLDS, IN_DIRECTION, UNDECIDED
from tabcohort.reproduce.findings import Findings
from tabcohort.reproduce.patent_variants import BASE, DROP_LAST, NO_CLIPPING, NO_MIXUP, SGD, VARIANTS, Results, TableRun
from tabcohort.training.loop import EpochRecord

ROWS = (10, 4, 4)


def made_up(roc_auc: float, train: float = 0.9) -> TableRun:
    history = tuple(EpochRecord(epoch, 0.002, 0.4, 0.3, 0.9, 0.3, 1.0) for epoch in (1, 2))
    metrics = {"roc_auc": roc_auc, "log_loss": 0.2, "accuracy": 0.9}
    return TableRun(history, (0.9, roc_auc), 2, {"accuracy": train}, metrics, metrics, roc_auc)


def results(n_not_finite: int = 0) -> Results:
    """Return trainings with three seeds, in which SGD has a ROC AUC lower by 0.001, and mixup trains as claimed."""
    runs = {name: {seed: made_up(0.97 + seed / 1_000, 0.928) for seed in range(3)} for name in VARIANTS}
    runs[SGD] = {seed: made_up(0.969 + seed * 0.99 / 1_000, 0.928) for seed in range(3)}
    runs[NO_MIXUP] = {seed: made_up(0.97 + seed / 1_000, 0.941 + seed / 1_000) for seed in range(3)}
    counts = {name: n_not_finite * (name == NO_CLIPPING) for name in VARIANTS}
    return Results(runs, counts)


def verdict_of(findings: Findings, start: str) -> str:
    return next(claim.verdict for claim in findings.claims if claim.text.startswith(start))


def test_verdicts_follow_from_the_trainings() -> None:
    findings = patent_tables.findings(results(), ROWS, patent.DOCUMENT, 1.0)
    check_document(findings)
    assert verdict_of(findings, "AdamW has a higher ROC AUC than SGD") == IN_DIRECTION
    assert verdict_of(findings, "Mixup lowers the accuracy of the training rows") == HOLDS
    assert verdict_of(findings, "Mixup raises the ROC AUC") == FAILS
    assert verdict_of(findings, "SGD converges in more than 120 epochs") == CANNOT
    assert verdict_of(findings, "Without clipping") == UNDECIDED
    assert findings.claims[-2].reason.endswith("excludes only shares above 63%")  # 0.37 ** 3 = 0.05
    assert verdict_of(patent_tables.findings(results(1), ROWS, patent.DOCUMENT, 1.0), "Without clipping") == HOLDS
    assert not findings.is_interrupted


def test_tables_show_the_document_beside_what_was_measured() -> None:
    findings = patent_tables.findings(results(), ROWS, patent.DOCUMENT, 1.0)
    assert [sheet.title for sheet in findings.sheets] == list(patent_tables.TABLES)
    optimizers = findings.sheets[1]
    assert optimizers.rows[0].what == SGD
    shown = dict(zip(optimizers.columns, optimizers.rows[0].cells, strict=True))
    assert shown["ROC AUC, validation rows, document"] == "0.9510"
    assert shown["ROC AUC, validation rows"] == "0.9700 ± 0.0010"
    assert shown["best epoch, document"] is None
    assert row_of(findings, "raw columns").cells[0] == "65"


def test_every_claimed_figure_is_of_a_table_and_compared() -> None:
    for table, figure, variant in patent_tables.CLAIMED:
        variants, figures = patent_tables.TABLES[table]
        assert variant in variants
        assert figure in [own.name for own in figures]
        assert any(variant in sides and own.name == figure for _, _, own, *sides in patent_tables.COMPARISONS)


def test_the_last_batch_is_negligible_where_the_interval_is_small() -> None:
    def with_losses(*differences: float) -> Results:
        whole = results()
        changed = {
            seed: replace(made_up(0.97), validation={"log_loss": 0.2 + difference})
            for seed, difference in enumerate(differences)
        }
        return replace(whole, runs={**whole.runs, DROP_LAST: changed})

    assert patent_tables.last_batch(with_losses(1e-5, -1e-5, 2e-5)).verdict == HOLDS
    assert patent_tables.last_batch(with_losses(1e-3, -1e-3, 2e-3)).verdict == UNDECIDED
    assert patent_tables.last_batch(with_losses(0.01, 0.0101, 0.0099)).verdict == FAILS
    assert patent_tables.last_batch(with_losses(1e-5)).verdict == UNDECIDED


def test_an_interrupted_experiment_keeps_what_was_trained() -> None:
    whole = results()
    part = Results({name: runs if name == BASE else {} for name, runs in whole.runs.items()}, whole.n_not_finite, 24)
    findings = patent_tables.findings(part, ROWS, patent.DOCUMENT, 1.0)
    check_document(findings)
    assert findings.is_interrupted
    assert verdict_of(findings, "Mixup raises") == UNDECIDED
    assert [claim.reason for claim in findings.claims[-2:]] == ["not measured", "not measured"]
    assert any(note == "interrupted: 24 trainings are missing" for note in findings.notes)
    empty = Results({name: {} for name in VARIANTS}, whole.n_not_finite, 27)
    with pytest.raises(KeyboardInterrupt):
        patent_tables.findings(empty, ROWS, patent.DOCUMENT, 1.0)


def test_the_tables_run_to_their_end() -> None:
    config = replace(patent.DOCUMENT, hidden=(8,), batch_size=32, max_epochs=2)
    findings = patent_tables.run(silent_console(), seeds=2, rows=(200, 60, 60), config=config)
    check_document(findings)
    assert {claim.measured[0].value.n for claim in findings.claims} == {2}
    assert {picture.kind for picture in findings.pictures} == {"curves", "bars"}
