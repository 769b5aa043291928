"""The options that name a table and say what its columns are."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from tabcohort.cli.source_options import column_types, open_table, shown_name
from tabcohort.errors import SettingsError

NONE = {"category": [], "number": [], "date": [], "text": [], "drop": [], "settings": None}


def test_an_option_takes_precedence_over_the_settings_file(tmp_path: Path) -> None:
    (tmp_path / "types.toml").write_text('[columns]\nzip = "number"\nnote = "drop"\n', encoding="utf-8")
    options = argparse.Namespace(**{**NONE, "category": ["zip"], "settings": tmp_path / "types.toml"})
    assert column_types(options) == {"zip": "category", "note": "drop"}


def test_a_column_has_one_type() -> None:
    options = argparse.Namespace(**{**NONE, "category": ["zip"], "drop": ["zip"]})
    with pytest.raises(SettingsError, match=r"^the column 'zip' is given two types: --category and --drop$"):
        column_types(options)


def test_a_sample_knows_its_target_and_is_no_database() -> None:
    sample = open_table(argparse.Namespace(table="sample:wine", query=None))
    assert (sample.target, len(sample.frame)) == ("target", 178)
    with pytest.raises(SettingsError, match="--query is for databases"):
        open_table(argparse.Namespace(table="sample:wine", query="select 1"))


def test_a_password_is_not_shown() -> None:
    assert shown_name("a.csv") == "a.csv"
    assert "secret" not in shown_name("postgresql://ann:secret@host/db")
