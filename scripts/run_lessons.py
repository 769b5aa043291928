"""Run the lessons in docs/lessons, and write them as notebooks with their outputs to build/lessons.

Run it as `python scripts/run_lessons.py`, or with names of lessons such as `from_scratch`. One line is printed per
lesson. The exit status is 1 if a cell fails, or if the text of a lesson states a figure that its code does not have.
"""

from __future__ import annotations

import copy
import functools
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
LESSONS, NOTEBOOKS = ROOT / "docs" / "lessons", ROOT / "build" / "lessons"
NAMES = ("logistic_regression", "adam_and_results", "from_scratch", "residual_network", "mini_batches")
SECONDS_PER_CELL = 120
# With a decimal point, a thousands separator or a percent sign; others are counts of what the page shows.
FIGURE = re.compile(r"\d+(?:,\d{3})+|\d+\.\d+|\d+(?= ?%)")
NUMBER = re.compile(r"\d+(?:[,_]\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore:compiling kernels"}

# Figures with twice the points, for screens that have them; messages of the kernel itself only if they are errors.
KERNEL_OPTIONS = ["--InlineBackend.figure_formats={'retina'}", "--log-level=ERROR"]


class LessonError(Exception):
    """A lesson cannot be shown as it is: a cell fails, or a figure in the text is not in the code or its output."""


def read_lesson(text: str) -> NotebookNode:
    """Return a lesson as a notebook without outputs.

    Args:
        text: Jupytext Markdown, with or without its front matter.
    """
    notebook = jupytext.reads(text, fmt="md")
    notebook.metadata.setdefault("kernelspec", {"name": "python3", "display_name": "Python 3", "language": "python"})
    return notebook


def run_lesson(notebook: NotebookNode, name: str) -> NotebookNode:
    """Return a notebook with the outputs of its cells, which run in a process and a folder of their own.

    Args:
        notebook: see `read_lesson`.
        name: what errors call it.

    Raises:
        LessonError: a cell fails, or the text states a figure that is in no code cell and no output.
    """
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=SECONDS_PER_CELL,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": folder}},
            extra_arguments=KERNEL_OPTIONS,
        )
        try:
            client.execute(env={**ENVIRONMENT, **os.environ})
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise LessonError(f"a cell of the lesson {name!r} fails, and must run:\n{error}") from None
    for cell in notebook.cells:
        if cell.cell_type == "code":  # standard error has messages of a machine's first run, such as fonts
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    unknown = unknown_figures(notebook)
    if unknown:
        raise LessonError(
            f"the text of the lesson {name!r} must state figures that its code has or prints; not there: "
            f"{', '.join(unknown)}"
        )
    return notebook


@functools.cache
def run_text_once(text: str, name: str) -> NotebookNode:
    """Return `run_lesson` of a text, which runs once: `mkdocs serve` builds every page whenever one is saved."""
    return run_lesson(read_lesson(text), name)


def unknown_figures(notebook: NotebookNode) -> list[str]:
    """Return the figures in the text of a notebook that are in no code cell and in no printed output."""
    known = "\n".join(
        part for cell in notebook.cells if cell.cell_type == "code" for part in (cell.source, printed_by(cell))
    )
    values = {value_of(number) for number in NUMBER.findall(known)}
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.DOTALL)
    return sorted({figure for figure in FIGURE.findall(text) if value_of(figure) not in values})


def value_of(number: str) -> float:
    """Return the value of a number such as 1,024 or 1_024."""
    return float(number.replace(",", "").replace("_", ""))


def printed_by(cell: NotebookNode) -> str:
    """Return what a code cell printed, and its last value as text."""
    return "".join(
        output.text if output.output_type == "stream" else output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
        if "image/png" not in output.get("data", {})
    )


def with_links(notebook: NotebookNode, docs: str, suffix: str) -> NotebookNode:
    """Return a copy of a notebook whose links lead to other notebooks of lessons, and to pages at another place.

    Args:
        notebook: its links are those of a page in docs/lessons.
        docs: the folder of the pages, as seen from the notebook.
        suffix: of the pages there.
    """
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\]\((\w+)\.md\)", r"](\1.ipynb)", cell.source)
            cell.source = re.sub(r"\]\(\.\./([\w/]+)\.md\b", rf"]({docs}/\1{suffix}", cell.source)
    return notebook


def main(arguments: list[str]) -> int:
    """Run lessons, all of them if none is named, and return the exit status."""
    unknown = [name for name in arguments if name not in NAMES]
    if unknown:
        print(f"there is no lesson {unknown[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    NOTEBOOKS.mkdir(parents=True, exist_ok=True)
    status = 0
    for name in arguments or NAMES:
        print(f"{name:<20} ", end="", flush=True)
        began = time.perf_counter()
        try:
            notebook = run_lesson(read_lesson((LESSONS / f"{name}.md").read_text(encoding="utf-8")), name)
        except LessonError as error:
            status = 1
            print(f"failed\n{error}", flush=True)
            continue
        nbformat.write(with_links(notebook, "../../docs", ".md"), NOTEBOOKS / f"{name}.ipynb")
        print(f"{time.perf_counter() - began:4.0f} s  {(NOTEBOOKS / name).relative_to(ROOT)}.ipynb", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
