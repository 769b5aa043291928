"""The page that shows a run in a browser: one file, whose script asks the server that sent it for events."""

from __future__ import annotations

import functools
from typing import NamedTuple

from markupsafe import Markup

from tabcohort.reporting.page import STYLE, policy_hash
from tabcohort.reporting.template import resource, template_environment

PACKAGE = "tabcohort.live"
SCRIPTS = ("live_charts.js", "live_state.js", "live_drawing.js", "live.js")  # one after another, in one scope


class LivePageText(NamedTuple):
    """The page.

    Args:
        html: its text.
        policy: its security policy: it loads nothing, runs its own script, and asks its own server alone.
    """

    html: str
    policy: str


@functools.cache
def live_page() -> LivePageText:
    """Return the page. It is the same for all runs, of which its script shows names as text only."""
    style = STYLE + resource("report.css") + resource("live.css", PACKAGE)
    script = "(() => {\n" + "".join(resource(name, PACKAGE) for name in SCRIPTS) + "})();\n"
    html = template_environment(PACKAGE, autoescape=True).get_template("live.html.j2")
    policy = (
        f"default-src 'none'; style-src '{policy_hash(style)}'; script-src '{policy_hash(script)}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return LivePageText(html.render(style=Markup(style), script=Markup(script)), policy)
