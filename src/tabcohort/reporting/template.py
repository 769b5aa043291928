"""The templates of pages and cards, and how they are rendered."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined


def resource(name: str) -> str:
    """Return the text of a template."""
    return files("tabcohort.reporting").joinpath("templates", name).read_text(encoding="utf-8")


def template_environment(**options: Any) -> Environment:
    """Return an environment of Jinja that finds the templates, and in which an unknown name is an error.

    Args:
        options: of `jinja2.Environment`; pages need `autoescape=True`.
    """
    return Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(resource), **options
    )  # fmt: skip
