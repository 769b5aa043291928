"""The options that name a table and say what its columns are."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from tabcohort.cli.output import consoles, print_lines
from tabcohort.errors import SettingsError

if TYPE_CHECKING:
    from tabcohort.data.frames import ColumnChoices
    from tabcohort.data.sources import Sample


def open_table(options: argparse.Namespace) -> Sample:
    """Return a table's frame, with the target and positive class where they are known; say what was detected."""
    from tabcohort.data.sources import Sample, load_sample, read_source

    if options.table.startswith("sample:"):
        if options.query:
            raise SettingsError("--query is for databases, and a sample is none; leave it out")
        return load_sample(options.table.removeprefix("sample:"))
    source = read_source(options.table, options.query)
    _, messages = consoles(getattr(options, "quiet", False))
    print_lines(messages, f"table    {source.description}")
    return Sample(source.frame, target="", positive=None)


def shown_name(table: str) -> str:
    """Return the name of a table for messages, without a password."""
    from tabcohort.data.databases import shown

    return shown(table) if "://" in table else table


def column_choices(options: argparse.Namespace) -> ColumnChoices:
    """Return what the options say of the columns."""
    from tabcohort.data.frames import ColumnChoices

    return ColumnChoices(tuple(options.key), tuple(options.group), options.time, options.weight, column_types(options))


def column_types(options: argparse.Namespace) -> dict[str, str]:
    """Return the types of columns that the options give, and those of the settings file for other columns."""
    types: dict[str, str] = {}
    for kind in ("category", "number", "date", "text", "drop"):
        for name in getattr(options, kind):
            if types.setdefault(name, kind) != kind:
                raise SettingsError(f"the column {name!r} is given two types: --{types[name]} and --{kind}")
    return {**settings_file(options)[1], **types}


def settings_file(options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the settings and the types of columns in the file that the options name, if any."""
    from tabcohort.settings import read_settings

    return read_settings(options.settings) if options.settings else ({}, {})
