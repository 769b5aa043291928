"""The options that name a table and say what its columns are."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tabcohort.cli.output import consoles, print_lines
from tabcohort.errors import SettingsError, warn_caller

if TYPE_CHECKING:
    from tabcohort.data.frames import ColumnChoices
    from tabcohort.data.sources import Sample
    from tabcohort.settings import Config


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


def warn_of_unused(options: argparse.Namespace, configs: Sequence[Config]) -> None:
    """Warn of what the settings file sets although none of the configs uses it.

    What belongs to the run as a whole, such as the device, is no matter of a config.
    """
    from tabcohort.cohort.presets import RUN_SETTINGS
    from tabcohort.settings import unused_names

    unused = set.intersection(*map(unused_names, configs)) - RUN_SETTINGS
    names = [name for name in settings_file(options)[0] if name in unused]
    if not names:
        return
    by = f"the config (model = {configs[0].model!r})" if len(configs) == 1 else f"any of the {len(configs):,} configs"
    warn_caller(f"not used by {by}: {', '.join(names)}, in {options.settings!r}")
