"""What pages have in common."""

from __future__ import annotations

import base64
import hashlib
import re

from tabcohort.reporting.page import STYLE, number_class, table_of, whole_page


def test_a_page_has_its_title_as_text_and_its_content_as_it_is() -> None:
    page = whole_page("a <b> & c", "<p>rows</p>")
    assert page.startswith('<!doctype html>\n<html lang="en">')
    assert "<title>a &lt;b&gt; &amp; c</title>" in page
    assert f"<style>{STYLE}</style>" in page
    assert page.endswith("<h1>a &lt;b&gt; &amp; c</h1><p>rows</p></body></html>\n")


def test_the_security_policy_allows_the_style_of_the_page_alone() -> None:
    for more in ("", "p { color: red; }"):
        page = whole_page("t", "", more)
        (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
        assert style == STYLE + more
        hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        (policy,) = re.findall(r'"Content-Security-Policy" content="([^"]*)"', page)
        assert policy == f"default-src 'none'; style-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none'"


def test_the_heads_of_a_table_are_text_and_those_of_numbers_are_marked() -> None:
    table = table_of(["a < b", "rows"], "<tr><td>x</td><td>1</td></tr>", {1})
    assert table == (
        '<div class="wide"><table><tr><th>a &lt; b</th><th class="number">rows</th></tr>\n'
        "<tr><td>x</td><td>1</td></tr></table></div>"
    )
    assert (number_class(True), number_class(False)) == (' class="number"', "")
