"""The wishes of the second draft name commands that are there."""

from __future__ import annotations

import shlex

import pytest

from tabcohort.cli.parser import make_parser
from tabcohort.reproduce.wishes import WISHES, Wish, wish_sheet


@pytest.mark.parametrize("wish", WISHES, ids=lambda wish: wish.what)
def test_the_command_of_a_wish_is_understood(wish: Wish) -> None:
    program, *arguments = shlex.split(wish.command)
    assert program == "tabcohort"
    make_parser().parse_args([argument.replace("TABLE", "table.csv") for argument in arguments])


def test_every_wish_has_a_row() -> None:
    assert [row.what for row in wish_sheet().rows] == [wish.what for wish in WISHES]
    assert len(WISHES) == 9
