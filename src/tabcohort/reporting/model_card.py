"""The model card: the facts of a report as Markdown, under the headings of Hugging Face's model cards.

Mitchell et al. (2019), "Model cards for model reporting".
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from tabcohort.errors import printable
from tabcohort.reporting.figures import count
from tabcohort.reporting.report_page import interval, number, percent
from tabcohort.reporting.template import template_environment
from tabcohort.reporting.terminal import ALTERNATIVE_LABELS, stop_text

LIMITS = {"names": 20, "columns": 100, "groups": 3}
# What may begin something in CommonMark, and in what GitHub and Hugging Face add: links, mentions, emoji, formulas.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~$#@:!&])|(?<=www)(\.)")


class _Code(str):
    """Text in a block of code, which Markdown shows as it is."""


def model_card(facts: Mapping[str, Any], title: str, file: str = "MODEL.tabcohort") -> str:
    """Return the facts of a report (see `tabcohort.model.report_facts.report_facts`) as a model card.

    Names, labels and cells are shown as text, whatever they hold.

    Args:
        facts: of a model.
        title: of the card, such as the name of the model's file.
        file: name of the model's file, for the commands that use it.
    """
    environment = template_environment(keep_trailing_newline=True, finalize=_escaped)  # of Markdown
    environment.filters |= {"pct": percent, "num": number, "count": count, "interval": interval}
    return environment.get_template("model_card.md.j2").render(
        printable(facts),
        title=printable(title),
        shell_file=_Code(shlex.quote(printable(file))),
        python_file=_Code(json.dumps(printable(file), ensure_ascii=False)),
        limits=LIMITS,
        more=_more,
        alternative_labels=ALTERNATIVE_LABELS,
        stop_text=stop_text,
    )


def escape_markdown(text: str) -> str:
    r"""Return text that Markdown shows as it is, in a line or a cell of a table.

    Examples:
        >>> print(escape_markdown("a|b *c* <d>"))
        a\|b \*c\* \<d\>
    """
    return _SPECIAL.sub(lambda match: f"\\{match[0]}", text)


def _escaped(value: Any) -> Any:
    return escape_markdown(value) if isinstance(value, str) and not isinstance(value, _Code) else value


def _more(n_names: int) -> str:
    """Return how many names a list leaves out, if it does."""
    return f" and {n_names - LIMITS['names']:,} more" if n_names > LIMITS["names"] else ""
