"""The built documentation: no warning, no network, no broken link, and a reference of every public name."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import tabcohort

pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed")

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "LESSONS_WITHOUT_OUTPUTS": "1"}  # `test_docs` runs lessons
# Python code that ends the process with an error when it, or a thread of it, connects to another machine.
WITHOUT_NETWORK = """
import os, runpy, sys
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        print("a connection was opened:", arguments, file=sys.stderr, flush=True)
        os._exit(70)
sys.addaudithook(refuse)
runpy.run_module("mkdocs", run_name="__main__")
"""


class Page(HTMLParser):
    """The anchors of a page, what it links to, and what a browser loads with it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attributes}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and "stylesheet" in values.get("rel", ""):
            self.resources.append(values["href"])
        elif "src" in values:
            self.resources.append(values["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Page]:
    """The pages of the site by their files; `--strict` makes an error of every warning."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-c", WITHOUT_NETWORK, "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert not built.stderr
    return {path: Page(path) for path in folder.rglob("*.html")}


def test_links_inside_the_site_lead_to_a_file_and_an_anchor(site: dict[Path, Page]) -> None:
    broken = []
    for path, page in site.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or path.name == "404.html":  # whose links are of the site's root
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if target.is_dir():
                target /= "index.html"
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in site and anchor not in site[target].anchors):
                broken.append(f"{path.name}: {link}")
    assert not broken


def test_nothing_is_loaded_from_another_machine(site: dict[Path, Page]) -> None:
    loaded = {resource for page in site.values() for resource in page.resources}
    assert loaded
    assert not {resource for resource in loaded if urlsplit(resource).netloc}


def test_the_reference_describes_every_public_name(site: dict[Path, Page]) -> None:
    anchors = {anchor for path, page in site.items() if path.parent.name == "api" for anchor in page.anchors}
    assert set(tabcohort.__all__) == {name.removeprefix("tabcohort.") for name in anchors if name.count(".") == 1}
