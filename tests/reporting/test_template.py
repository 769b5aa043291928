"""Templates: an unknown name is an error, and pages escape what they show."""

from __future__ import annotations

import pytest
from jinja2 import UndefinedError

from tabcohort.reporting.template import resource, template_environment


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'missing' is undefined"):
        template_environment().from_string("{{ missing }}").render()


def test_a_page_escapes_what_it_shows() -> None:
    assert template_environment(autoescape=True).from_string("{{ cell }}").render(cell="<b>") == "&lt;b&gt;"


def test_templates_are_found_by_name() -> None:
    environment = template_environment()
    assert environment.loader is not None
    source, *_ = environment.loader.get_source(environment, "report.html.j2")
    assert source == resource("report.html.j2")
    assert "<html" in source
