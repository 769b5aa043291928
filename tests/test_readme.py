"""The README's commands and settings are those of the code; its Python examples are run by `make check`."""

from __future__ import annotations

import dataclasses
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from tabcohort.cli.parser import _parser
from tabcohort.settings import Config

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.parametrize("line", re.findall(r"^\$ tabcohort (.*)$", README, re.MULTILINE))
def test_every_command_in_the_readme_is_one_that_the_command_line_knows(line: str) -> None:
    assert _parser().parse_args(shlex.split(line)).run


def test_the_settings_table_names_every_setting_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]*)` \|", README, re.MULTILINE))
    assert list(rows) == [each.name for each in dataclasses.fields(Config)]
    assert "None" not in rows.values()  # the defaults are as a settings file spells them
    for each in dataclasses.fields(Config):
        value = tomllib.loads(f"value = {rows[each.name]}")["value"]
        assert getattr(Config.from_dict({each.name: value}), each.name) == each.default, each.name
        assert value == (
            list(each.default) if each.name == "hidden" else "none" if each.default is None else each.default
        )


def test_the_settings_file_in_the_readme_is_valid() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert Config.from_dict(tomllib.loads(text)).model == "residual"


def test_every_make_target_in_the_readme_is_in_the_makefile() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text()
    named = set(re.findall(r"`make (\w+)`", README)) | set(re.findall(r"^    make (\w+)$", README, re.MULTILINE))
    assert named <= set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
