"""The pages in a browser: every path of a person, nothing asked of another server, and no barrier that axe finds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import CHROMIUM, fit_quickly

from tabcohort import Predictor, Table, save
from tabcohort.server.app import create_app
from tabcohort.server.model_store import ModelStore
from tabcohort.server.options import ServerOptions
from tabcohort.server.processes import address_of, listen

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
RUNS = "window.x=1"
ELEMENTS = (
    f"<script>{RUNS}</script>", f"<img src=x onerror={RUNS}>", f"<svg onload={RUNS}>", f"<body onload={RUNS}>",
    "<iframe srcdoc='<script>parent.x=1</script>'>", f"<details open ontoggle={RUNS}>",
    f"<input autofocus onfocus={RUNS}>", f"<video src=x onerror={RUNS}>", f"<style onload={RUNS}></style>",
    f"<a href=javascript:{RUNS} autofocus>",
    f"<marquee onstart={RUNS}>", f"<object data=javascript:{RUNS}>",
)  # fmt: skip
HOSTILE = [
    *(f"{before}{element}" for before in ("", '">', "</option></select>", "\u202e") for element in ELEMENTS),
    f"' onfocus='{RUNS}", f'" autofocus onfocus="{RUNS}', f"javascript:{RUNS}", f"</script><script>{RUNS}</script>",
    f"{{{{constructor.constructor('{RUNS}')()}}}}", f"&lt;img src=x onerror={RUNS}&gt;",
    f"`<img src=x onerror={RUNS}>`", f"${{{RUNS}}}", f"[a](javascript:{RUNS})", f"<!--><script>{RUNS}</script>",
]  # fmt: skip


@pytest.fixture(scope="module")
def hostile(files: Path) -> pl.DataFrame:
    """Rows whose names, labels and cells are scripts, each in its column; a model of them is among the files."""
    cells = {name: [HOSTILE[(i + place) % len(HOSTILE)] for i in range(60)] for place, name in enumerate(HOSTILE)}
    frame = pl.DataFrame({**cells, "y": [HOSTILE[2], HOSTILE[3]] * 30})
    table = Table.from_frame(frame, "y", types=dict.fromkeys(HOSTILE, "category"))
    save(fit_quickly(table, model="logistic"), files / "hostile.tabcohort")
    return frame


@pytest.fixture(scope="module")
def address(files: Path, mixed: Predictor, visits: pl.DataFrame, hostile: pl.DataFrame) -> Iterator[str]:
    """A server that runs in a thread."""
    import uvicorn

    store = ModelStore(
        {name: files / f"{name}.tabcohort" for name in ("mixed", "hostile")},
        background={"mixed": lambda: visits, "hostile": lambda: hostile},
    )
    listening = listen(ServerOptions(port=0))
    server = uvicorn.Server(
        uvicorn.Config(create_app(store, ServerOptions(reload_interval_seconds=0)), log_level="error", ws="none")
    )
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield address_of(listening)
    server.should_exit = True
    thread.join()


@pytest.fixture(params=[("light", 400), ("dark", 1200)], ids=lambda value: f"{value[0]}-{value[1]}")
def page(request: pytest.FixtureRequest, browser: Any, address: str) -> Iterator[Any]:
    """A page that asks nothing of another server, and whose console stays silent."""
    scheme, width = request.param
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, base_url=address)
    own, said, asked = context.new_page(), [], []
    own.on("console", lambda message: "status of 422" in message.text or said.append(message.text))
    own.on("pageerror", lambda error: said.append(str(error)))
    own.on("request", lambda sent: asked.append(sent.url))
    yield own
    assert said == []
    assert [url for url in asked if not url.startswith((address, "blob:"))] == []
    context.close()


def fits(page: Any) -> bool:
    """Return whether the page is no wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))


def test_a_record_is_answered_explained_and_changed(page: Any) -> None:
    page.goto("/models/mixed")
    assert fits(page)
    page.fill("[data-column=size]", "99")
    assert page.locator(".outside").count() == 1
    page.fill("[data-column=size]", "0.5")
    assert page.locator(".outside").count() == 0
    page.select_option("[data-column=city]", "another value")
    page.press("[data-column=size]", "Enter")
    page.wait_for_selector("#result")
    assert "outcome: " in page.inner_text("#answer")
    assert "unknown level of 'city'" in page.inner_text("#result")
    assert fits(page)
    answer = page.locator(".what-answer")
    answer.filter(has_text="%").wait_for()
    page.select_option(".what-column", label="size")
    page.locator(".what-answer", has_text="size = ").wait_for()
    before = answer.inner_text()
    page.locator(".what-range").press("End")
    page.wait_for_function("text => document.querySelector('.what-answer').textContent !== text", arg=before)
    page.select_option(".what-column", label="city")
    page.locator(".what-answer", has_text="city = ").wait_for()
    page.select_option(".what-level", "Oslo")
    page.locator(".what-answer", has_text="city = Oslo").wait_for()


def test_a_wrong_field_is_named_and_can_be_corrected(page: Any) -> None:
    page.goto("/models/mixed")
    page.fill("[data-column=size]", "large")
    with page.expect_response("**/models/mixed") as answered:
        page.click("button[type=submit]")
    assert answered.value.status == 422


def test_a_file_is_answered_sorted_filtered_and_downloaded(page: Any, visits: pl.DataFrame, tmp_path: Path) -> None:
    table = tmp_path / "visits.csv"
    visits.with_columns(note=pl.lit('said "no",\nthen <b>left</b>')).write_csv(table)
    page.goto("/models/mixed/table")
    page.set_input_files("#file", table)
    page.wait_for_selector(".results:not([hidden])")
    assert "60 predictions, the highest probability of ill first" in page.inner_text(".status")
    rows = page.locator("tbody tr")
    assert rows.count() == 60
    assert page.locator("tbody b").count() == 0
    values = [float(cell) for cell in page.locator("tbody td:nth-child(2)").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    page.locator("thead button", has_text="probability ill").click()
    values = [float(cell) for cell in page.locator("tbody td:nth-child(2)").all_inner_texts()]
    assert values == sorted(values)
    assert page.locator("th[aria-sort=ascending]").inner_text() == "probability ill"
    page.check(".only-abstentions")
    sets = page.locator("tbody td:nth-child(5)").all_inner_texts()
    assert all(cell == "" or "|" in cell for cell in sets)
    with page.expect_download() as downloaded:
        page.click(".download")
    assert len(pl.read_csv(downloaded.value.path())) == 60
    assert fits(page)


def test_a_file_that_cannot_be_answered_is_a_sentence(browser: Any, address: str, tmp_path: Path) -> None:
    own = browser.new_page(base_url=address)
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    own.goto("/models/mixed/table")
    own.set_input_files("#file", tmp_path / "other.csv")
    own.locator(".status", has_text="No predictions: the table lacks 'size'").wait_for()
    own.close()


def test_no_barrier_is_found_on_any_page(page: Any, visits: pl.DataFrame, tmp_path: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    table = tmp_path / "visits.csv"
    visits[:5].write_csv(table)

    def check(name: str) -> None:
        found = axe.Axe().run(page).response["violations"]
        assert found == [], (name, [(own["id"], own["nodes"][0]["html"]) for own in found])

    for path in ("/", "/models/mixed", "/models/mixed/about", "/docs"):
        page.goto(path)
        check(path)
    page.goto("/models/mixed")
    page.click("button[type=submit]")
    page.wait_for_selector("#result")
    check("answer")
    page.goto("/models/mixed/table")
    page.set_input_files("#file", table)
    page.wait_for_selector(".results:not([hidden])")
    check("table")


def test_the_keyboard_is_enough(page: Any) -> None:
    page.goto("/models/mixed")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.focus("[data-column=size]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result")
    assert page.evaluate("document.activeElement.id") == "result"


@pytest.mark.parametrize("page", [("dark", 900)], indirect=True, ids=["dark-900"])
def test_scripts_in_names_labels_cells_and_fields_do_not_run(page: Any, hostile: pl.DataFrame, tmp_path: Path) -> None:
    table = tmp_path / "hostile.csv"
    hostile.write_csv(table)
    for start in range(0, len(HOSTILE), 12):  # so that different payloads are shown with their contributions
        page.goto("/models/hostile")
        page.evaluate(
            "values => values.forEach((value, place) => { document.querySelector(`#c${place}`).value = value; })",
            HOSTILE[start:] + HOSTILE[:start],
        )
        page.click("button[type=submit]")
        page.wait_for_selector("#result")
        page.locator(".what-answer", has_text="%").wait_for()
        assert page.evaluate("window.x") is None, start
    page.goto("/models/hostile/table")
    page.set_input_files("#file", table)
    page.wait_for_selector(".results:not([hidden])")
    assert page.evaluate("window.x") is None
    for path in ("/models/hostile/about", "/docs", "/"):
        page.goto(path)
        assert page.evaluate("window.x") is None
