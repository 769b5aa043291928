"""A page on a reference document's experiment: one HTML file that loads nothing from elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from tabcohort import __version__
from tabcohort.errors import printable
from tabcohort.reporting.experiment_figures import STYLES, figure_of
from tabcohort.reporting.page import whole_page
from tabcohort.reporting.template import resource, template_environment


def experiment_page(facts: Mapping[str, Any], command: str) -> str:
    """Return the facts of an experiment (see `tabcohort.reproduce.findings.Findings.to_dict`) as an HTML page.

    Args:
        facts: of the experiment.
        command: that measured them, as text.
    """
    facts = printable(facts)
    environment = template_environment(autoescape=True)
    pictures = facts["pictures"]
    content = environment.get_template("experiment.html.j2").render(
        facts,
        figure_of=figure_of,
        styles=STYLES,
        curves=[picture for picture in pictures if picture["kind"] == "curves"],
        others=[picture for picture in pictures if picture["kind"] != "curves"],
        has_marks=any(bar["claimed"] is not None for picture in pictures for bar in picture.get("bars", ())),
        counted=count_verdicts(facts["claims"]),
        seconds=duration(facts["seconds"]),
        version=__version__,
        command=printable(command),
    )
    name = f"Reproducing {facts['experiment']}"
    return whole_page(name, Markup(content), resource("report.css") + resource("experiment.css"))


def count_verdicts(claims: list[Mapping[str, Any]]) -> str:
    """Return how many claims have each verdict, as a sentence.

    Examples:
        >>> count_verdicts([{"verdict": "holds"}, {"verdict": "can't hold"}, {"verdict": "holds"}])
        "Claims of the document: 3. Holds: 2; can't hold: 1."
    """
    counts = Counter(str(claim["verdict"]) for claim in claims)
    listed = "; ".join(f"{verdict}: {count}" for verdict, count in counts.most_common())
    return f"Claims of the document: {len(claims)}. {listed[:1].upper()}{listed[1:]}."


def duration(seconds: float) -> str:
    """Return a time as text.

    Examples:
        >>> duration(75), duration(600)
        ('75 s', '10 min')
    """
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
