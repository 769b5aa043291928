"""The page in a browser: a run as it happens, its replay, names that are scripts, and no barrier that axe finds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from helpers import CHROMIUM
from live_runs import HOSTILE, events_of_a_run

from tabcohort.live.event_log import EventLog
from tabcohort.live.events import Event
from tabcohort.live.live_server import LiveServer

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
VERDICT = (
    "It is trained: no better epoch came within its patience. Epoch 6: training loss 0.1000, validation loss 0.8000. "
    "Best epoch 3, with a validation loss of 0.5000. Overfitting since epoch 3: the validation loss has risen by 60%, "
    "while the training loss fell from 0.4000 to 0.1000. The weights of the best epoch are kept."
)


@pytest.fixture
def log() -> EventLog:
    """The events that the page asks for; a test adds them."""
    return EventLog()


@pytest.fixture(params=[("light", 400), ("dark", 1200)], ids=lambda value: f"{value[0]}-{value[1]}")
def page(request: pytest.FixtureRequest, browser: Any, log: EventLog) -> Iterator[Any]:
    """The page, which asks nothing of another server, and whose console stays silent."""
    scheme, width = request.param
    with LiveServer(log) as server:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        opened, said, asked = context.new_page(), [], []
        opened.on("console", lambda message: said.append(message.text))
        opened.on("pageerror", lambda error: said.append(str(error)))
        opened.on("request", lambda sent: asked.append(sent.url))
        opened.goto(server.address)
        yield opened
        assert said == []
        assert [url for url in asked if not url.startswith((server.address.partition("?")[0], "data:"))] == []
        context.close()


def fits(page: Any) -> bool:
    """Return whether the page is no wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def add(log: EventLog, start: int = 0, end: int | None = None, **texts: Any) -> None:
    for event in events_of_a_run(**texts)[start:end]:
        log(event)


def wait_for(page: Any, selector: str, text: str) -> None:
    page.wait_for_function(
        "([selector, text]) => document.querySelector(selector).textContent.includes(text)", arg=[selector, text]
    )


def test_a_run_is_seen_as_it_happens(page: Any, log: EventLog) -> None:
    wait_for(page, "#chip", "waiting for training to begin")
    n_events = len(events_of_a_run())
    place = next(
        i for i, event in enumerate(events_of_a_run()) if event.get("member") == 0 and event["event"] == "stop"
    )
    add(log, 0, place)
    wait_for(page, "#chip", "live")
    wait_for(page, "#tile-over", "1 now")
    wait_for(page, "#verdict", "It is being trained. Epoch 6: ")
    assert page.locator(".is-overfitting input").count() == 1
    assert page.inner_text("#tile-done") == "0 of 2"
    assert page.inner_text("#tile-left") == "about 3 s"
    assert fits(page)
    add(log, place, n_events)
    wait_for(page, "#chip", "ended")
    assert page.inner_text("#tile-done") == "1 of 2"
    page.check("input[name=member][value='0']")
    assert page.inner_text("#verdict") == VERDICT
    assert page.locator("#member-losses .overfit").count() == 1
    assert "best epoch 3" in page.text_content("#member-losses")
    wait_for(page, "#layers", "output.weight (4 parameters)")
    assert page.locator("#layers svg").count() == 2
    page.check("input[name=member][value='2']")
    assert "Boosted trees have no layers" in page.inner_text("#layers-note")
    page.check("input[name=member][value='1']")
    assert "It is failed: the loss stopped being finite" in page.inner_text("#verdict")
    assert fits(page)


def test_the_end_of_the_command_keeps_what_was_shown(browser: Any) -> None:
    log = EventLog()
    add(log)
    opened = browser.new_page()
    with LiveServer(log) as server:
        with opened.expect_response(re.compile("/layers.*member=1")) as answered:  # it asks for those of all members
            opened.goto(server.address)
        answered.value.finished()
        wait_for(opened, "#chip", "ended")
    opened.check("input[name=member][value='1']")
    wait_for(opened, "#layers", "output.weight (4 parameters)")
    opened.check("input[name=member][value='0']")
    assert opened.inner_text("#verdict") == VERDICT
    opened.close()


def test_a_recorded_run_is_replayed_and_sought(page: Any, log: EventLog) -> None:
    add(log)
    log.is_open = False
    wait_for(page, "#time", "5.5 s of 5.5 s")
    page.focus("#seek")
    page.keyboard.press("Home")
    assert page.inner_text("#time") == "0.0 s of 5.5 s"
    assert page.inner_text("#tile-epochs") == "0"
    page.evaluate(
        "const seek = document.querySelector('#seek'); seek.value = 500; seek.dispatchEvent(new Event('input'))"
    )
    assert page.inner_text("#tile-epochs") == "5"  # of 2.75 s: one of each of the trees, and three of the network
    assert page.get_attribute("#seek", "aria-valuetext") == "2.8 s of 5.5 s"
    page.select_option("#speed", "20")
    page.click("#play")
    wait_for(page, "#tile-epochs", "11")
    wait_for(page, "#play", "Play")
    page.click("#play")  # once more from the beginning
    page.click("#play")
    assert page.inner_text("#chip") == "paused"
    page.click("#latest")
    assert page.inner_text("#tile-epochs") == "11"


def test_a_recording_that_was_cut_says_where_it_ends(page: Any, log: EventLog) -> None:
    add(log, 0, 12)
    log.is_open = False
    wait_for(page, "#chip", "the recording ends here")


def test_what_is_drawn_can_be_chosen(page: Any, log: EventLog) -> None:
    add(log)
    wait_for(page, "#chip", "ended")
    lines = page.locator("#losses .curve")
    assert lines.count() == 8
    page.select_option("#show", "val")
    assert lines.count() == 4
    page.locator("#legend input").first.uncheck()
    assert lines.count() == 2
    page.select_option("#colour", "fold")
    assert page.locator("#legend li").all_inner_texts() == ["fold 1", "fold 2"]
    page.uncheck("#log")
    page.click("summary")
    rows = page.locator("#rows tr")
    rows.nth(3).wait_for()
    assert rows.count() == 4
    assert "done, overfitting" in rows.first.inner_text()
    assert fits(page)


def test_the_keyboard_is_enough(page: Any, log: EventLog) -> None:
    add(log)
    wait_for(page, "#chip", "ended")
    page.reload()
    wait_for(page, "#chip", "ended")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.focus("input[name=member]:checked")
    before = page.inner_text("#member-title")
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#member-title") != before


def test_another_run_begins_anew(page: Any, log: EventLog) -> None:
    add(log)
    wait_for(page, "#chip", "ended")
    add(log, 0, 5)
    wait_for(page, "#chip", "live")
    assert page.inner_text("#tile-epochs") == "1"


ONE_PAGE = pytest.mark.parametrize("page", [("dark", 900)], indirect=True, ids=["dark-900"])


def with_layer(event: Event, **changes: Any) -> Event:
    """Return an event in which each layer is changed."""
    layers = [{**layer, **changes} for layer in event.get("layers", ())]
    return {**event, "layers": layers} if layers else event


@ONE_PAGE
@pytest.mark.parametrize("size", [1.0, -1.0, 1e9, 5e-324, 1e-300])
def test_values_that_differ_by_a_single_bit_can_be_drawn(page: Any, log: EventLog, size: float) -> None:
    for event in events_of_a_run():
        log(with_layer(event, quantiles=[size] * 6 + [math.nextafter(size, math.inf)]))
    wait_for(page, "#chip", "ended")
    page.check("input[name=member][value='0']")
    wait_for(page, "#layers", "Epoch 6: ")
    assert page.locator("#layers svg").first.locator(".grid-line").count() < 30


@ONE_PAGE
def test_the_layers_of_another_run_have_titles_of_their_own(page: Any, log: EventLog) -> None:
    # Both runs are drawn when their layers are known, not before.
    page.add_init_script("window.requestAnimationFrame = (draw) => setTimeout(() => draw(performance.now()), 400)")
    page.reload()
    for n in (4, 5):
        for event in events_of_a_run():
            log(with_layer(event, n=n))
        wait_for(page, "#layers", f"output.weight ({n} parameters)")


@ONE_PAGE
def test_scripts_in_names_do_not_run(page: Any, log: EventLog) -> None:
    add(log, names=(HOSTILE, "</script><script>window.x=1</script>"), target=HOSTILE)
    wait_for(page, "#chip", "ended")
    page.click("summary")
    for member in range(4):
        page.check(f"input[name=member][value='{member}']")
    assert page.evaluate("window.x") is None
    assert page.locator("img").count() == 0
    assert HOSTILE.split("\x1b")[0] in page.inner_text("#title")


def test_no_barrier_is_found(page: Any, log: EventLog) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")

    def check(name: str) -> None:
        violations = axe.Axe().run(page).response["violations"]
        assert violations == [], (name, [(rule["id"], rule["nodes"][0]["html"]) for rule in violations])

    check("before the run")
    place = next(
        i for i, event in enumerate(events_of_a_run()) if event.get("member") == 0 and event["event"] == "stop"
    )
    add(log, 0, place)
    wait_for(page, "#chip", "live")
    wait_for(page, "#layers", "output.weight")
    check("during the run")
    add(log, place)
    wait_for(page, "#chip", "ended")
    page.click("summary")
    page.locator("#rows tr").nth(3).wait_for()
    check("after the run")
