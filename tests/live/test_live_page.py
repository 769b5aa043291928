"""The page as text: its security policy allows what it has and nothing else."""

from __future__ import annotations

import base64
import hashlib
import re

from tabcohort.live.grid import MARKS
from tabcohort.live.live_page import PACKAGE, SCRIPTS, live_page
from tabcohort.live.run_state import MIN_EPOCHS_SINCE_BEST, MIN_RISE, OF_REASON
from tabcohort.reporting.template import resource


def test_the_security_policy_allows_its_style_its_script_and_its_server() -> None:
    page = live_page()
    hashes = {}
    for name in ("style", "script"):
        (text,) = re.findall(rf"<{name}>(.*?)</{name}>", page.html, re.DOTALL)
        hashes[name] = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert page.policy == (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def test_the_page_loads_nothing_and_has_no_style_or_script_in_attributes() -> None:
    html = live_page().html
    assert re.findall(r"""(?:src|href)=["']([^"']*)""", html) == ["data:,", "#content"]
    assert re.findall(r"""<[^>]*\s(?:style|on\w+)=""", html) == []
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", html) == []


def test_the_script_writes_texts_and_no_html() -> None:
    for name in SCRIPTS:
        script = resource(name, PACKAGE)
        assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", script) == []


def test_overfitting_and_reasons_are_what_they_are_in_the_terminal() -> None:
    script = resource("live_state.js", PACKAGE)
    assert f"MIN_SINCE = {MIN_EPOCHS_SINCE_BEST}," in script
    assert f"MIN_RISE = {MIN_RISE}," in script
    (reasons,) = re.findall(r"const OF_REASON = \{ (.*) \};", script)
    assert dict(pair.split(": ") for pair in reasons.replace('"', "").split(", ")) == OF_REASON
    (marks,) = re.findall(r"const MARKS = \{ (.*) \};", script)
    assert dict(pair.split(": ") for pair in marks.replace('"', "").split(", ")) == MARKS


def test_the_page_says_what_the_gradients_are() -> None:
    assert "moving average over the last steps that the optimizer keeps" in live_page().html
