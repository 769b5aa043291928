"""The leak audit: planted leaks are found, clean tables raise no alarm, and each finding says what to do."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from planted_leaks import LEAKS, TARGET, clean_table, rows_in_order_of_time, visits_of_patients

from tabcohort import load_sample
from tabcohort.data.audit import audit
from tabcohort.data.frames import ColumnChoices
from tabcohort.data.labels import Finding
from tabcohort.data.parquet_files import ReadingProgress
from tabcohort.data.recognize import recognize_columns


def findings_of(frame: pl.DataFrame, target: str = TARGET, choices: ColumnChoices | None = None) -> tuple[Finding, ...]:
    reserved = () if choices is None else choices.reserved
    names = [name for name in frame.columns if name != target and name not in reserved]
    return audit(frame, target, recognize_columns(frame, names), choices)


def only(findings: tuple[Finding, ...], kind: str) -> Finding:
    (finding,) = (finding for finding in findings if finding.kind == kind)
    return finding


# -- planted leaks, and none -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("plant", "kind"), LEAKS.items(), ids=lambda value: getattr(value, "__name__", value))
def test_planted_leaks_are_found_and_nothing_else(
    plant: Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame], kind: str
) -> None:
    for seed in (0, 1):
        findings = findings_of(plant(clean_table(seed), np.random.default_rng(seed)))
        assert kind in [finding.kind for finding in findings]
        assert {name for finding in findings for name in finding.columns} <= {"planted"}


def test_clean_tables_raise_at_most_one_alarm_in_a_hundred_columns() -> None:
    n_columns = n_alarms = 0
    for seed in range(4):
        for n_rows, n_classes in ((60, 2), (600, 2), (1_500, 3)):
            frame = clean_table(100 + seed, n_rows, n_classes)
            n_columns += len(frame.columns) - 1
            n_alarms += sum(max(1, len(finding.columns)) for finding in findings_of(frame))
    assert n_alarms <= n_columns / 100


@pytest.mark.parametrize("name", ["breast-cancer", "wine", "iris", "digits"])
def test_columns_of_easy_tables_are_no_leaks(name: str) -> None:
    sample = load_sample(name)
    findings = findings_of(sample.frame, sample.target)
    assert [finding for finding in findings if finding.columns] == []


def test_a_sample_of_the_rows_is_enough_and_always_the_same() -> None:
    frame = clean_table(0, 30_000).with_columns(planted=pl.col(TARGET) == "ill")
    frame = frame.with_columns(pl.col("planted").cast(pl.Float64) + pl.int_range(pl.len()) * 1e-7)
    assert only(findings_of(frame), "target").columns == ("planted",)
    assert findings_of(frame) == findings_of(frame)


@pytest.mark.parametrize("n_rows", [0, 1, 10])
def test_tables_too_small_to_tell_have_no_findings(n_rows: int) -> None:
    assert findings_of(clean_table(0)[:n_rows]) == ()


# -- one finding at a time -------------------------------------------------------------------------------------------


def test_the_columns_that_were_looked_at_are_reported() -> None:
    frame = pl.DataFrame({f"x{number}": np.random.default_rng(number).normal(size=300) for number in range(400)})
    frame = frame.with_columns(y=pl.Series(["a", "b"] * 150))
    told: list[ReadingProgress] = []
    audit(frame, "y", recognize_columns(frame, frame.columns[:-1]), callback=told.append)
    assert {(progress.stage, progress.n_all) for progress in told} == {("looking for leaks", 400)}
    assert [progress.n_done for progress in told] == sorted({progress.n_done for progress in told})
    assert (told[0].n_done, told[-1].n_done < 400, len(told) > 1) == (0, True, True)


def test_a_finding_has_its_evidence_and_the_option_that_handles_it() -> None:
    words = clean_table(0)[TARGET].replace_strict({"ill": "on ward", "well": "at home"}).to_list()
    words[3] = "away"  # else it is a copy, which is left out
    finding = only(findings_of(clean_table(0).with_columns(pl.Series("my status", words))), "target")
    assert finding.columns == ("my status",)
    assert finding.evidence["ROC AUC"] > 0.99
    assert str(finding) == (
        "'my status' alone predicts 'outcome' almost perfectly (out-of-fold ROC AUC "
        f"{finding.evidence['ROC AUC']:.3f}): check that it is known before the outcome; if not, leave it out with "
        "--drop 'my status'"
    )


def test_a_column_named_after_a_leak_is_named_too() -> None:
    rng = np.random.default_rng(0)
    frame = clean_table(0)
    status = np.where((frame[TARGET] == "ill").to_numpy(), "ward", rng.choice(["home", "away"], len(frame)))
    frame = frame.with_columns(status=pl.Series(status), status_day=pl.Series(rng.integers(0, 99, len(frame))))
    named = [finding.columns for finding in findings_of(frame) if finding.kind == "target"]
    assert named == [("status",), ("status_day",)]


def test_many_columns_that_predict_the_target_are_one_finding() -> None:
    frame = clean_table(0)
    ill = (frame[TARGET] == "ill").to_numpy()
    rng = np.random.default_rng(0)
    leaks = {f"leak_{i}": ill + rng.normal(0, 0.1, len(ill)) for i in range(8)}
    finding = only(findings_of(frame.with_columns(**{name: pl.Series(x) for name, x in leaks.items()})), "target")
    assert finding.columns == tuple(leaks)
    words = "8 of 28 columns alone predict 'outcome' almost perfectly ('leak_0', 'leak_1', 'leak_2' and 5 more)"
    assert words in str(finding)


def test_missing_cells_of_one_class_only_are_known_afterwards() -> None:
    frame = clean_table(0)
    is_filled = (frame[TARGET] == "ill").to_numpy() & (np.arange(len(frame)) % 3 == 0)
    frame = frame.with_columns(ward=pl.when(pl.Series(is_filled)).then(pl.lit("A")))
    finding = only(findings_of(frame), "afterwards")
    words = "all rows with, or all rows without, a missing cell are of one class"
    assert f"missing cells in 'ward' predict 'outcome' ({words})" in str(finding)
    assert "--drop ward" in finding.remedy


@pytest.mark.parametrize("other_label", [False, True])
def test_duplicates_are_counted_and_say_whether_labels_agree(other_label: bool) -> None:
    frame = clean_table(0)
    copies = frame[:30]
    if other_label:
        copies = copies.with_columns(pl.col(TARGET).replace_strict({"ill": "well", "well": "ill"}))
    finding = only(findings_of(pl.concat([frame, copies])), "duplicates")
    assert finding.evidence == {"n_repeated": 30, "share": 30 / 630, "n_with_other_label": 60 if other_label else 0}
    agree = "and 60 rows are equal to one with another label" if other_label else "all with the same label"
    assert f"30 rows (5%) have the features of an earlier row, {agree}" in str(finding)


def test_a_named_group_is_not_found_again() -> None:
    frame = visits_of_patients(clean_table(0), np.random.default_rng(0))
    finding = only(findings_of(frame), "group")
    assert "--group planted" in finding.remedy
    assert findings_of(frame, choices=ColumnChoices(groups=("planted",))) == ()


def test_a_measurement_that_labels_follow_is_no_group() -> None:
    frame = clean_table(0)
    rng = np.random.default_rng(0)
    days = rng.permutation(len(frame)) // 4
    frame = frame.with_columns(days=pl.Series(days), outcome=pl.Series(np.where(days > 75, "ill", "well")))
    assert "group" not in [finding.kind for finding in findings_of(frame)]


def test_rows_sorted_by_the_target_are_harmless() -> None:
    assert str(only(findings_of(clean_table(0).sort(TARGET)), "order")) == (
        "the rows are sorted by 'outcome': no action is needed, as splits ignore the order"
    )


def test_neighbours_that_are_alike_are_an_order_without_a_name() -> None:
    frame = clean_table(0)
    ill = frame.filter(pl.col(TARGET) == "ill")
    well = frame.filter(pl.col(TARGET) == "well")
    blocks = [part[start : start + 8] for start in range(0, 300, 8) for part in (ill, well)]
    finding = only(findings_of(pl.concat(blocks)), "order")
    assert finding.columns == ()
    assert "87% of neighbouring rows have the same label, where 50% would by chance" in str(finding)


def test_a_time_that_is_named_settles_the_order() -> None:
    frame = rows_in_order_of_time(clean_table(0), np.random.default_rng(0))
    assert "--time planted" in only(findings_of(frame), "order").remedy
    assert findings_of(frame, choices=ColumnChoices(time="planted")) == ()


def test_identifiers_that_repeat_a_little_are_named() -> None:
    frame = clean_table(0)
    ids = np.random.default_rng(0).permutation(50_000)[: len(frame)] + 10_000
    ids[:20] = ids[20:40]
    assert only(findings_of(frame.with_columns(case_id=pl.Series(ids))), "identifier").columns == ("case_id",)


@pytest.mark.parametrize("value", [-1, 0, 9_999])
def test_sentinels_are_found(value: int) -> None:
    frame = clean_table(0)
    rng = np.random.default_rng(0)
    days = np.where(rng.random(len(frame)) < 0.05, value, rng.integers(40, 90, len(frame)))
    finding = only(findings_of(frame.with_columns(pressure=pl.Series(days))), "sentinel")
    assert finding.columns == ("pressure",)
    assert finding.evidence["value"] == value
    assert "leave these cells empty" in finding.remedy


def test_zeros_of_counts_and_amounts_are_no_sentinels() -> None:
    rng = np.random.default_rng(0)
    frame = clean_table(0)
    amounts = np.where(rng.random(len(frame)) < 0.4, 0, rng.lognormal(5, 1, len(frame)).round(2))
    frame = frame.with_columns(amount=pl.Series(amounts), visits=pl.Series(rng.poisson(8, len(frame))))
    assert findings_of(frame) == ()


def test_labels_and_levels_that_differ_in_spelling_are_named() -> None:
    frame = clean_table(0)
    upper = pl.int_range(pl.len()) % 5 == 0
    frame = frame.with_columns(pl.when(upper).then(pl.col(TARGET).str.to_uppercase()).otherwise(TARGET).alias(TARGET))
    frame = frame.with_columns(city=pl.Series(["Málaga", "Ma\u0301laga ", "malaga", "Oslo"] * 150))
    findings = [finding for finding in findings_of(frame) if finding.kind == "spelling"]
    assert [finding.columns for finding in findings] == [(TARGET,)]
    assert "'ILL' and 'ill'; 'WELL' and 'well'" in str(findings[0])
    frame = frame.with_columns(city=pl.Series(["Oslo", "oslo", "Rome", "Bern"] * 150))
    assert [finding.columns for finding in findings_of(frame) if finding.kind == "spelling"] == [(TARGET,), ("city",)]


def test_counts_as_a_target_and_too_many_classes_are_named() -> None:
    frame = clean_table(0, 1_000).drop(TARGET)
    counts = frame.with_columns(outcome=pl.int_range(pl.len()) % 26)
    assert "26 different whole numbers, which look like counts" in only(findings_of(counts), "classes").message
    pairs = frame.with_columns(outcome=pl.concat_str(pl.lit("class "), (pl.int_range(pl.len()) // 2).cast(pl.String)))
    assert "500 classes with 2.0 rows each" in only(findings_of(pairs), "classes").message
