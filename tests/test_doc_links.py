"""README.md and docs: their length, their links, and the files, functions and make targets that they name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from doc_pages import DOCS, EVERY_PAGE, MAKEFILE, PAGES, ROOT, SOURCE, name_of, prose_of, read, table_rows

MAX_LINES_OF_README, MAX_WORDS = 150, 1_500


@EVERY_PAGE
def test_a_page_has_at_most_1500_words(page: Path) -> None:
    """Counted are all pieces between blanks, outside of code blocks; so the bars of tables count as words, too."""
    assert len(prose_of(page).split()) <= MAX_WORDS


def test_the_readme_is_short() -> None:
    assert len(read(ROOT / "README.md").splitlines()) <= MAX_LINES_OF_README


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=name_of)
def test_links_and_images_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.is_file(), target
        assert page.parent == ROOT or DOCS in linked.parents, f"{target} is not in the built pages"
        assert not anchor or anchor in anchors_of(linked), target


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, and of what its reference describes."""
    described = re.findall(r"^::: (\S+)$", read(page), re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose_of(page), re.MULTILINE)
    return {
        *described,
        *(re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings),
    }


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"^ +- .*: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


@EVERY_PAGE
def test_make_targets_are_in_the_makefile(page: Path) -> None:
    named = re.findall(r"`make ([a-z]+)`", read(page)) + re.findall(r"^\$ make ([a-z]+)", read(page), re.MULTILINE)
    assert set(named) <= set(re.findall(r"^([a-z]+):", MAKEFILE, re.MULTILINE))


@EVERY_PAGE
def test_files_and_what_they_define_are_there(page: Path) -> None:
    prose = prose_of(page)
    for path in re.findall(r"`([\w/]+\.py|benchmarks/\w+\.\w+)`", prose):
        assert [*ROOT.glob(path), *SOURCE.rglob(path)], f"there is no {path}"
    for names, path in re.findall(r"((?:`[\w.]+`(?:, | and )?)+)\s(?:in|\()\s?`([\w/]+\.py)`", prose):
        (file,) = SOURCE.rglob(path)
        for name in re.findall(r"`(?:\w+\.)*(\w+)`", names):
            assert re.search(rf"^\s*(def|class) {name}\b|^{name}\b.* = ", read(file), re.MULTILINE), f"{path}: {name}"


def test_the_page_on_the_code_names_every_package() -> None:
    rows = table_rows("developing/house.md", r"`\w+`(?:, `\w+`)*", "[^|]+")
    listed = [name for packages, _ in rows for name in re.findall(r"`(\w+)`", packages)]
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    modules = {path.stem for path in SOURCE.glob("[!_]*.py")}
    assert sorted(listed) == sorted(packages | modules)
