"""The templates of pages and cards, and how they are rendered."""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined


def resource(name: str, package: str = "tabcohort.reporting") -> str:
    """Return the text of a template of a package."""
    return files(package).joinpath("templates", name).read_text(encoding="utf-8")


def template_environment(package: str = "tabcohort.reporting", **options: Any) -> Environment:
    """Return an environment of Jinja that finds the templates of a package; an unknown name in one is an error.

    Args:
        package: whose folder `templates` holds them.
        options: of `jinja2.Environment`; pages need `autoescape=True`.
    """
    loader = FunctionLoader(functools.partial(resource, package=package))
    return Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=loader, **options)
