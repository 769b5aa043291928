"""The lessons: each says what it teaches, is short, draws, asks, and tells where to go on. `test_docs.py` runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed")
run_lessons = pytest.importorskip("run_lessons", reason="nbclient is not installed")

ROOT = Path(__file__).parent.parent
LESSONS = ROOT / "docs" / "lessons"
MAX_WORDS, MAX_COLUMNS = 1_500, 80
FENCE = re.compile(r"^```(\w+).*?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EVERY_LESSON = pytest.mark.parametrize("lesson", [LESSONS / f"{name}.md" for name in run_lessons.NAMES], ids=str)


def read(lesson: Path) -> str:
    return lesson.read_text(encoding="utf-8")


def prose_of(lesson: Path) -> str:
    """Return a lesson without its front matter and its code."""
    return FENCE.sub("", read(lesson).split("\n---\n", 1)[1])


def cells_of(lesson: Path) -> list[str]:
    return [code for language, code in FENCE.findall(read(lesson)) if language == "python"]


def test_every_lesson_is_run_and_shown_in_the_same_order() -> None:
    assert sorted(path.stem for path in LESSONS.iterdir()) == sorted(run_lessons.NAMES)
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert tuple(re.findall(r"lessons/(\w+)\.md", navigation)) == run_lessons.NAMES
    assert f"lessons/{run_lessons.NAMES[0]}.md" in read(ROOT / "docs" / "index.md")


@EVERY_LESSON
def test_a_lesson_is_a_notebook_in_text_form(lesson: Path) -> None:
    notebook = jupytext.reads(read(lesson), fmt="md")
    assert notebook.metadata.kernelspec.name == "python3"
    assert [cell.source for cell in notebook.cells if cell.cell_type == "code"] == [
        code.rstrip("\n") for code in cells_of(lesson)
    ]
    again = jupytext.reads(jupytext.writes(notebook, fmt="md"), fmt="md")
    assert [(cell.cell_type, cell.source) for cell in again.cells] == [
        (cell.cell_type, cell.source) for cell in notebook.cells
    ]


@EVERY_LESSON
def test_the_first_lines_say_what_there_is_to_learn_and_how_long_it_takes(lesson: Path) -> None:
    first = " ".join(prose_of(lesson).strip().split("\n\n")[1].split())
    assert re.match(r"\*\*You will learn\*\* .*\*\*Time:\*\* \d+ minutes\. \*\*You need:\*\* ", first)


@EVERY_LESSON
def test_a_lesson_is_short(lesson: Path) -> None:
    assert len(prose_of(lesson).split()) <= MAX_WORDS


@EVERY_LESSON
def test_code_fits_the_page(lesson: Path) -> None:
    assert [line for code in cells_of(lesson) for line in code.splitlines() if len(line) > MAX_COLUMNS] == []


@EVERY_LESSON
def test_cells_that_draw_say_what_there_is_to_see(lesson: Path) -> None:
    drawing = [code for code in cells_of(lesson) if "plt.subplots" in code]
    assert len(drawing) >= 2
    assert [code for code in drawing if not code.startswith("# Figure: ")] == []
    assert [code for code in cells_of(lesson) if "plt.show" in code] == []


@EVERY_LESSON
def test_every_question_has_an_answer_that_is_folded(lesson: Path) -> None:
    _, questions = prose_of(lesson).split("\n## Questions\n")
    numbers = re.findall(r"^\*\*(\d)\.\*\* ", questions, re.MULTILINE)
    assert numbers == [str(number) for number in range(1, len(numbers) + 1)]
    assert 4 <= len(numbers) <= 6
    answer = r"^\*\*\d\.\*\* [^<]+\n\n<details>\n<summary>Answer</summary>\n\n[^<]+\n\n</details>$"
    assert len(re.findall(answer, questions, re.MULTILINE)) == len(numbers)


@EVERY_LESSON
def test_the_end_says_what_to_do_next(lesson: Path) -> None:
    _, end = read(lesson).split("\n## Next\n")
    assert "\n$ tabcohort " in end
    assert "](../guide/" in end
