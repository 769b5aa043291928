"""Where files go that nobody names, and what is checked before any work."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tabcohort import ModelFileError, Predictor
from tabcohort.cli.files import (
    check_default_model,
    check_outputs,
    default_model,
    default_report,
    reserved,
    save_or_rescue,
    unused,
)


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("sample:wine", "wine"),
        ("some where/patients.csv", "patients"),
        ("patients.CSV.gz", "patients"),
        ("patients.2024.parquet", "patients.2024"),
        ("patients", "patients"),
        ("-", "model"),
        ("sqlite:///clinic.db", "model"),
        ("postgresql://user:secret@host/clinic", "model"),
    ],
)
def test_a_model_has_the_name_of_its_table(table: str, name: str) -> None:
    assert default_model(table) == Path(f"{name}.tabcohort")


def test_a_report_has_the_name_of_its_model_and_overwrites_nothing() -> None:
    assert default_report("models/patients.tabcohort") == Path("patients.html")
    assert default_report("model") == Path("model.html")
    Path("model.html").touch()
    assert default_report("model") == Path("model-2.html")


def test_a_name_that_is_taken_gets_a_number(folder: Path) -> None:
    (folder / "a.b").touch()
    (folder / "a-2.b").symlink_to("nowhere")
    assert unused(Path("a.b")) == Path("a-3.b")
    assert unused(Path("c.b")) == Path("c.b")


def test_a_folder_that_cannot_be_written_to_is_found_before_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # whoever is root may write everywhere
    words = r"^'wine\.tabcohort' cannot be written: Permission denied"
    with pytest.raises(ModelFileError, match=f"{words}; say where the model goes with --out MODEL.tabcohort$"):
        check_default_model("sample:wine")
    with pytest.raises(ModelFileError, match=f"{words}$"):
        check_outputs(["wine.tabcohort"], [])


def test_the_check_of_outputs_leaves_nothing(folder: Path) -> None:
    with reserved:
        check_outputs(["model", None, "curves.png"], ["table.csv", None])
        check_default_model("sample:wine")
    assert os.listdir(folder) == []


def test_a_model_that_can_be_written_nowhere_is_the_first_error(
    predictor: Predictor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str(folder / "away"))
    with pytest.raises(ModelFileError, match=r"^'gone/model' cannot be written: No such file or directory$"):
        save_or_rescue(predictor, Path("gone/model"))
