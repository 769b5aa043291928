"""Running lessons: outputs are kept, failures are named, and no text states a figure that the code does not have."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("jupytext", reason="jupytext is not installed")
pytest.importorskip("nbclient", reason="nbclient is not installed")

import run_lessons
from run_lessons import LessonError, main, read_lesson, run_lesson, unknown_figures, with_links

LESSON = """# A lesson

Half of 3 is 1.5.

```python
import sys

print("half of 3:", 3 / 2)
print("a message", file=sys.stderr)
```
"""


def test_what_a_cell_prints_is_kept_and_messages_are_not() -> None:
    notebook = run_lesson(read_lesson(LESSON), "halves")
    (cell,) = (cell for cell in notebook.cells if cell.cell_type == "code")
    assert [output.text for output in cell.outputs] == ["half of 3: 1.5\n"]


def test_a_figure_is_a_png_with_its_width() -> None:
    text = "```python\nimport matplotlib.pyplot as plt\n\nfigure = plt.figure(figsize=(2, 1))\n```\n"
    notebook = run_lesson(read_lesson(text + "\n```python\nfigure, ax = plt.subplots()\n```\n"), "figures")
    (output,) = notebook.cells[-1].outputs
    assert "image/png" in output.data
    assert output.metadata["image/png"]["width"] > 100


def test_a_cell_that_fails_is_an_error_that_names_the_lesson() -> None:
    with pytest.raises(
        LessonError, match=r"a cell of the lesson 'halves' fails, and must run:(.|\n)*ZeroDivisionError"
    ):
        run_lesson(read_lesson("```python\n1 / 0\n```\n"), "halves")


def test_a_cell_that_takes_too_long_is_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lessons, "SECONDS_PER_CELL", 1)
    with pytest.raises(LessonError, match=r"a cell of the lesson 'halves' fails, and must run:(.|\n)*timed out"):
        run_lesson(read_lesson("```python\nimport time\ntime.sleep(30)\n```\n"), "halves")


def test_a_figure_in_the_text_that_no_cell_has_is_an_error() -> None:
    with pytest.raises(LessonError, match=r"the text of the lesson 'halves' must state figures.*not there: 2\.5$"):
        run_lesson(read_lesson(LESSON.replace("1.5", "2.5")), "halves")


def test_a_text_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = []
    monkeypatch.setattr(run_lessons, "run_lesson", lambda notebook, name: texts.append(name) or notebook)
    assert run_lessons.run_text_once(LESSON, "once") is run_lessons.run_text_once(LESSON, "once")
    assert texts == ["once"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is 0.25.", []),
        ("It is 0.26.", ["0.26"]),
        ("It is -0.250.", []),
        ("It is 25 %.", ["25"]),
        ("It is 30 %, of 1,024 rows.", []),
        ("It is 1,025.", ["1,025"]),
        ("It is 26, a count.", []),
        ("It is `0.26`, [linked](a-0.26.md).", []),
    ],
)
def test_figures_are_compared_by_value(text: str, expected: list[str]) -> None:
    assert unknown_figures(read_lesson(f"{text}\n\n```python\nvalues = 0.25, 1_024, 30\n```\n")) == expected


def test_links_lead_to_notebooks_and_to_pages() -> None:
    text = "Read [Adam](adam_and_results.md), [Training](../guide/training.md#presets) and [more](https://example.org)."
    notebook = read_lesson(text)
    (cell,) = with_links(notebook, "../../docs", ".html").cells
    assert re.findall(r"\((.*?)\)", cell.source) == [
        "adam_and_results.ipynb", "../../docs/guide/training.html#presets", "https://example.org",
    ]  # fmt: skip
    assert notebook.cells[0].source == text


def test_lessons_are_written_as_notebooks_and_a_failing_one_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"NAMES": ("bad", "good"), "ROOT": tmp_path, "LESSONS": tmp_path, "NOTEBOOKS": tmp_path}.items():
        monkeypatch.setattr(run_lessons, name, value)
    (tmp_path / "bad.md").write_text("```python\nraise SystemError\n```\n", encoding="utf-8")
    (tmp_path / "good.md").write_text(LESSON, encoding="utf-8")
    assert main([]) == 1
    printed = capsys.readouterr().out
    assert "SystemError" in printed
    assert printed.splitlines()[-1].endswith(" s  good.ipynb")
    assert not (tmp_path / "bad.ipynb").exists()
    assert json.loads((tmp_path / "good.ipynb").read_text(encoding="utf-8"))["cells"][1]["outputs"]
    assert main(["good"]) == 0


def test_a_lesson_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wine"]) == 2
    assert capsys.readouterr().err.startswith("there is no lesson 'wine'; there are logistic_regression, ")
