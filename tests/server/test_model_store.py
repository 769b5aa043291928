"""Models are loaded again when their files change, and a broken file changes nothing."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import fit_quickly, make_rows

from tabcohort import ModelFileError, Predictor, SettingsError, Table, save
from tabcohort.container import fingerprint_of
from tabcohort.data.table import Schema
from tabcohort.server.model_store import ModelStore, load_model, model_names
from tabcohort.server.problems import Problem


@pytest.fixture
def own(files: Path, tmp_path: Path) -> Path:
    """A model file that a test may change."""
    path = tmp_path / "own.tabcohort"
    shutil.copy(files / "two.tabcohort", path)
    return path


def replaced(path: Path, model: Predictor) -> None:
    """Put another model in the place of a file, at another time."""
    save(model, path)
    os.utime(path, ns=(1, 1))


def test_a_model_is_known_by_the_sha_256_of_its_file(files: Path) -> None:
    model = load_model("two", files / "two.tabcohort")
    assert model.fingerprint == fingerprint_of(files / "two.tabcohort")
    assert len(model.fingerprint) == 64
    assert model.fingerprint.startswith(model.version)


def test_a_changed_file_is_loaded_and_a_request_keeps_the_version_that_it_began_with(
    own: Path, predictor: Predictor
) -> None:
    store = ModelStore({"own": own})
    old = store.get("own")
    assert not store.changed()
    replaced(own, predictor.with_decision_rule(0.3))
    assert store.changed()
    (reloaded,) = store.reload()
    assert reloaded == ("own", True, f"own: replaced version {old.version} with {store.get('own').version}")
    assert store.get("own").predictor.decision_rule.threshold == 0.3
    assert old.predictor.decision_rule.threshold is None
    assert store.reload() == []


def test_a_broken_or_missing_file_keeps_the_old_model_and_is_said_once(own: Path, predictor: Predictor) -> None:
    store = ModelStore({"own": own})
    old = store.get("own")
    own.write_bytes(own.read_bytes()[:-1])
    (kept,) = store.reload()
    assert (kept.label, kept.is_replaced) == ("own", False)
    assert kept.message.startswith(f"own: keeping version {old.version}: ")
    assert "is damaged" in kept.message
    assert store.reload() == []
    assert list(store.errors) == ["own"]
    own.unlink()
    assert "there is no file" in store.reload()[0].message
    assert store.get("own") is old
    replaced(own, predictor.with_decision_rule(0.3))
    assert "replaced version" in store.reload()[0].message
    assert store.errors == {}


def test_a_file_that_is_written_again_as_it_was_is_no_new_version(own: Path, predictor: Predictor) -> None:
    store = ModelStore({"own": own})
    old = store.get("own")
    os.utime(own, ns=(5, 5))
    assert store.changed()
    assert store.reload() == []
    assert store.get("own") is old


def test_a_shadow_needs_the_same_inputs_and_classes(files: Path) -> None:
    two, three, mixed = (files / f"{name}.tabcohort" for name in ("two", "three", "mixed"))
    store = ModelStore({"two": two}, {"two": two})
    assert store.shadow_of("two") is not None
    assert store.shadow_of("three") is None
    with pytest.raises(SettingsError, match="cannot be the shadow model of 'two': its classes differ"):
        ModelStore({"two": two}, {"two": three})
    with pytest.raises(SettingsError, match="cannot be the shadow model of 'two': it needs 'size'"):
        ModelStore({"two": two}, {"two": mixed})
    with pytest.raises(SettingsError, match="there is no model 'one' for which"):
        ModelStore({"two": two}, {"one": two})


def test_a_shadow_is_loaded_again_too_and_refused_where_it_no_longer_fits(
    own: Path, files: Path, predictor: Predictor, three_classes: Predictor
) -> None:
    store = ModelStore({"two": files / "two.tabcohort"}, {"two": own})
    replaced(own, predictor.with_decision_rule(0.3))
    assert "replaced version" in store.reload()[0].message
    shadow = store.shadow_of("two")
    assert shadow is not None
    assert shadow.predictor.decision_rule.threshold == 0.3
    save(three_classes, own)
    assert "its classes differ" in store.reload()[0].message
    assert store.shadow_of("two") is shadow


def test_a_model_that_is_not_there_is_not_found(files: Path) -> None:
    with pytest.raises(Problem, match="there is no such model; there are two") as caught:
        ModelStore({"two": files / "two.tabcohort"}).get("three")
    assert caught.value.status == 404


def test_a_store_needs_models_with_names_for_addresses(files: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="at least one model"):
        ModelStore({})
    for name in ("a/b", "", "../x", "a b", ".hidden"):
        with pytest.raises(SettingsError, match="a model's name has letters"):
            ModelStore({name: files / "two.tabcohort"})
    with pytest.raises(ModelFileError, match="there is no file"):
        ModelStore({"a": tmp_path / "gone"})
    (tmp_path / "text").write_text("x", encoding="utf-8")
    with pytest.raises(ModelFileError, match="is not a tabcohort file"):
        ModelStore({"a": tmp_path / "text"})


def test_a_file_that_changes_all_the_time_is_an_error(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(range(100))
    monkeypatch.setattr("tabcohort.server.model_store.fingerprint_of", lambda path: str(next(numbers)))
    with pytest.raises(ModelFileError, match="changes while it is read"):
        load_model("own", own)


def test_names_are_those_of_files_or_what_is_said() -> None:
    assert model_names(["a b (1).tabcohort", "new=x/c.tabcohort", "x=y/z=1.tabcohort"]) == {
        "a-b-1": "a b (1).tabcohort", "new": "x/c.tabcohort", "x": "y/z=1.tabcohort",
    }  # fmt: skip
    with pytest.raises(SettingsError, match=r"two models are called 'm'; name one of them: NAME=b/m\.tabcohort"):
        model_names(["a/m.tabcohort", "b/m.tabcohort"])


def test_what_a_page_needs_is_made_of_the_model(files: Path) -> None:
    model = load_model("two", files / "two.tabcohort")
    assert set(model.example) == {"x0", "x1", "x2"}
    assert model.card.startswith("---")
    assert "<html" in model.page
    assert model.explainer is None
    assert model.nearest is None
    assert set(model.ranges) == {"x0", "x1", "x2"}


def test_a_new_model_must_have_what_its_shadow_needs(own: Path, files: Path, predictor: Predictor) -> None:
    X, codes = make_rows(n_features=4)
    y = np.array(["no", "yes"])[codes]
    wider = fit_quickly(Table.from_arrays(X, y))
    store = ModelStore({"two": own}, {"two": files / "two.tabcohort"})
    replaced(own, wider)  # with one more column, which the shadow model does not need
    assert "replaced version" in store.reload()[0].message
    save(fit_quickly(Table.from_arrays(X[:, :2], y)), own)
    assert "cannot be the shadow model of 'two': it needs 'x2'" in store.reload()[0].message


def test_a_file_under_two_names_is_loaded_again_for_both(own: Path, predictor: Predictor) -> None:
    store = ModelStore({"a": own, "b": own})
    replaced(own, predictor.with_decision_rule(0.3))
    assert len(store.reload()) == 2
    assert store.get("a").version == store.get("b").version


def test_a_shadow_model_needs_columns_of_the_same_types(files: Path, tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [float(i % 31) + i / 7 for i in range(60)], "y": ["no", "yes"] * 30})
    save(fit_quickly(Table.from_frame(frame, "y")), tmp_path / "numbers.tabcohort")
    words = frame.with_columns(a=pl.Series(["u", "v", "w"] * 20))
    save(fit_quickly(Table.from_frame(words, "y")), tmp_path / "words.tabcohort")
    with pytest.raises(SettingsError, match="its columns 'a' are of another type"):
        ModelStore({"m": tmp_path / "numbers.tabcohort"}, {"m": tmp_path / "words.tabcohort"})


def test_rows_to_compare_with_that_lack_a_column_are_not_used(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = load_model("two", files / "two.tabcohort", lambda: pl.DataFrame({"x0": [1.0, 2.0]}))
    assert not model.can_explain
    assert model.explainer is None
    assert model.nearest is None
    assert capsys.readouterr().err.startswith("tabcohort: two has no explanations: the table lacks 'x1'")
    assert set(model.ranges) == {"x0", "x1", "x2"}


def test_a_new_version_is_checked_before_it_answers(own: Path, predictor: Predictor) -> None:
    store = ModelStore({"own": own})
    old = store.get("own")

    def only_rows_of_three_columns(schema: Schema) -> None:
        if len(schema.features) != 3:
            raise SettingsError("it has other columns")

    store.require("own", only_rows_of_three_columns)
    X, codes = make_rows(n_features=4)
    save(fit_quickly(Table.from_arrays(X, np.array(["no", "yes"])[codes])), own)
    assert store.reload()[0].message.endswith(": it has other columns")
    assert store.get("own") is old
    replaced(own, predictor.with_decision_rule(0.3))
    assert store.reload()[0].is_replaced
    with pytest.raises(SettingsError, match="no model passes"):
        store.require("own", refuse)


def refuse(schema: Schema) -> None:
    raise SettingsError("no model passes")


def test_errors_are_known_to_other_processes(own: Path, tmp_path: Path) -> None:
    """Each of these stands for a fork, which has the store as it was and never loads a file."""
    store = ModelStore({"own": own})
    store.share_errors(tmp_path / "errors.json")
    fork = copy.copy(store)
    fork._errors = {}
    assert fork.errors == {}
    own.write_bytes(own.read_bytes()[:-1])
    store.reload()
    assert list(fork.errors) == ["own"]
    assert "is damaged" in fork.errors["own"]


def test_a_model_of_other_columns_is_remarked_on(own: Path, mixed: Predictor) -> None:
    store = ModelStore({"own": own})
    replaced(own, mixed)
    assert store.reload()[0].message.endswith("; NOTE: its columns, target or classes are others")


def test_a_name_that_cannot_be_one_is_said() -> None:
    with pytest.raises(SettingsError, match=r"a model's name has letters, digits and \._@-, and 'my model' has others"):
        model_names(["my model=two.tabcohort"])
