"""Where files go that nobody names, what is checked before any work, and predictions as text."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from tabcohort import ModelFileError, Predictor
from tabcohort.cli.files import (
    check_default_model,
    check_outputs,
    csv_text,
    default_model,
    default_report,
    save_or_rescue,
    unused,
    write_predictions,
)
from tabcohort.errors import TabcohortError


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
    check_outputs(["model", None, "curves.png"], ["table.csv", None])
    check_default_model("sample:wine")
    assert os.listdir(folder) == []


def test_a_model_that_can_be_written_nowhere_is_the_first_error(
    predictor: Predictor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str(folder / "away"))
    with pytest.raises(ModelFileError, match=r"^'gone/model' cannot be written: No such file or directory$"):
        save_or_rescue(predictor, Path("gone/model"))


FRAME = pl.DataFrame(
    {
        "name": ["a\x1b[31m", 'b\n"c"'],
        "x\x07": [0.12345678, 1.0],
        "probability no": [0.123456789, 1.17451400102e-7],
        "spread": [0.0, 1.0],
        "set": [["no", "yes"], []],
    }
)
NUMBERS = ["probability no", "spread"]
CELLS = "0.123457,0.0,no|yes"


def test_probabilities_are_rounded_and_columns_of_the_input_are_not() -> None:
    text = csv_text(FRAME, NUMBERS, is_terminal=False)
    assert text.splitlines()[:2] == ["name,x\x07,probability no,spread,set", f"a\x1b[31m,0.12345678,{CELLS}"]
    assert text.splitlines()[3].endswith('",1.0,1.17451e-7,1.0,""')


def test_a_terminal_gets_no_control_characters() -> None:
    assert csv_text(FRAME, NUMBERS, is_terminal=True).splitlines() == [
        r"name,x\x07,probability no,spread,set",
        rf"a\x1b[31m,0.12345678,{CELLS}",
        r'"b\n""c""",1.0,1.17451e-7,1.0,""',
    ]


def test_a_column_that_a_format_cannot_hold_is_a_sentence(folder: Path) -> None:
    frame = FRAME.with_columns(pl.Series("thing", [object(), object()], dtype=pl.Object))
    with pytest.raises(TabcohortError, match=r"^'out\.parquet' cannot be written: "):
        write_predictions(frame, "out.parquet", NUMBERS)
    assert os.listdir(folder) == []
