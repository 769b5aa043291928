"""The lessons in the built documentation: outputs below their cells, figures as files, answers that fold."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
pytest.importorskip("nbclient", reason="nbclient is not installed")

import lessons_in_docs
import nbformat
from lessons_in_docs import on_config, on_page_markdown, outputs_of, page_of
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from run_lessons import LessonError, read_lesson

LESSON = """# A lesson

What it is about.

```python
# Figure: a line
print("drawn")
```

<details>
<summary>Answer</summary>

`Yes`.

</details>
"""


def with_outputs() -> Any:
    """Return the lesson with what its cell would print and draw."""
    notebook = read_lesson(LESSON)
    notebook.cells[1].outputs = [
        nbformat.v4.new_output("stream", text="drawn\n"),
        nbformat.v4.new_output(
            "display_data", {"image/png": "AAEC", "text/plain": "<Figure>"}, metadata={"image/png": {"width": 300}}
        ),
    ]
    return notebook


def page_at(path: str) -> Any:
    return SimpleNamespace(file=SimpleNamespace(src_uri=path))


def test_outputs_stand_below_their_cell() -> None:
    text, figures = page_of(with_outputs(), "line")
    assert figures == {"line-1.png": b"\x00\x01\x02"}
    cell, printed, drawn = (text.index(part) for part in ('print("drawn")', "```text\ndrawn\n```", "![a line]"))
    assert cell < printed < drawn
    assert "![a line](line-1.png){ width=300 loading=lazy }" in text
    assert "<Figure>" not in text


def test_the_note_stands_between_the_title_and_the_text() -> None:
    text, _ = page_of(with_outputs(), "line")
    assert text.startswith("# A lesson\n\n*What is printed")
    assert text.index("(line.ipynb)") < text.index("What it is about.")


def test_answers_are_markdown_inside_details() -> None:
    text, _ = page_of(with_outputs(), "line")
    assert '<details markdown="1">\n<summary>Answer</summary>\n\n`Yes`.' in text


def test_the_hook_adds_the_figures_and_the_notebook_to_the_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons_in_docs, "outputs_of", lambda markdown, name: with_outputs())
    config, files = MkDocsConfig(), Files([])
    config.load_dict({"site_name": "x"})
    config.validate()
    monkeypatch.setattr(config.plugins, "_current_plugin", "lessons", raising=False)  # as in a build
    text = on_page_markdown(LESSON, page_at("lessons/line.md"), config, files)
    assert text is not None
    assert set(files.src_uris) == {"lessons/line-1.png", "lessons/line.ipynb"}
    assert nbformat.reads(files.src_uris["lessons/line.ipynb"].content_string, 4).cells[1].source


def test_the_style_sheet_of_the_lessons_is_added() -> None:
    config = MkDocsConfig()
    config.load_dict({"site_name": "x", "extra_css": ["stylesheets/other.css"]})
    config.validate()
    on_config(config)
    assert config.extra_css == ["stylesheets/other.css", "stylesheets/lessons.css"]


def test_other_pages_stay_as_they_are() -> None:
    assert on_page_markdown(LESSON, page_at("guide/line.md"), MkDocsConfig(), Files([])) is None


def test_a_lesson_that_fails_fails_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(markdown: str, name: str) -> None:
        raise LessonError(f"a cell of the lesson {name!r} fails")

    monkeypatch.setattr(lessons_in_docs, "outputs_of", fail)
    with pytest.raises(PluginError, match="a cell of the lesson 'line' fails"):
        on_page_markdown(LESSON, page_at("lessons/line.md"), MkDocsConfig(), Files([]))


def test_lessons_can_be_shown_without_being_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LESSONS_WITHOUT_OUTPUTS", "1")
    notebook = outputs_of("```python\n1 / 0\n```\n", "line")
    assert [cell.outputs for cell in notebook.cells] == [[]]
