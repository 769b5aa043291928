"""A hook of MkDocs: run the lessons when the documentation is built, and show what each cell prints and draws.

A cell that fails, fails the build. Figures and the notebook itself become files beside the page. With the variable
`LESSONS_WITHOUT_OUTPUTS` set, lessons are shown as they are written, which takes no time.
"""

from __future__ import annotations

import base64
import os
from pathlib import PurePosixPath

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbformat import NotebookNode
from run_lessons import LessonError, printed_by, read_lesson, run_text_once, with_links

FIGURE = "# Figure: "  # begins a cell that draws; the rest of the line says what there is to see
NOTE = (
    "*What is printed and drawn below comes from running this page. Change it yourself: [download the notebook]"
    "({name}.ipynb), or run `make lessons` in a checkout.*"
)


def on_config(config: MkDocsConfig) -> None:
    """Add the style sheet of the lessons to the site's."""
    config.extra_css.append("stylesheets/lessons.css")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str | None:
    """Return the Markdown of a lesson with the outputs of its cells; None for any other page."""
    path = PurePosixPath(page.file.src_uri)
    if path.parent != PurePosixPath("lessons"):
        return None
    try:
        notebook = outputs_of(markdown, path.stem)
    except LessonError as error:
        raise PluginError(str(error)) from None
    text, figures = page_of(notebook, path.stem)
    figures_and_notebook = {**figures, f"{path.stem}.ipynb": nbformat.writes(with_links(notebook, "..", ".html"))}
    for name, content in figures_and_notebook.items():
        files.append(File.generated(config, f"lessons/{name}", content=content))
    return text


def outputs_of(markdown: str, name: str) -> NotebookNode:
    """Return a lesson as a notebook that has been run, unless it shall not be."""
    return read_lesson(markdown) if os.environ.get("LESSONS_WITHOUT_OUTPUTS") else run_text_once(markdown, name)


def page_of(notebook: NotebookNode, name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its figures as the contents of PNG files by their names.

    Args:
        notebook: with outputs.
        name: of the lesson, which the names of its figures begin with.
    """
    parts, figures = [], {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source.replace("<details>", '<details markdown="1">'))
            continue
        parts.append(f"```python\n{cell.source}\n```")
        if printed := printed_by(cell).rstrip():
            parts.append(output_block(f"```text\n{printed}\n```"))
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                file = f"{name}-{len(figures) + 1}.png"
                figures[file] = base64.b64decode(output.data["image/png"])
                width = output.metadata.get("image/png", {}).get("width", 600)
                parts.append(output_block(f"![{caption_of(cell)}]({file}){{ width={width} loading=lazy }}"))
    title, _, rest = parts[0].partition("\n")
    return "\n\n".join([title, NOTE.format(name=name), rest.strip(), *parts[1:]]), figures


def output_block(markdown: str) -> str:
    """Return Markdown inside the element that the style sheet of the lessons knows."""
    return f'<div class="lesson-output" markdown="1">\n\n{markdown}\n\n</div>'


def caption_of(cell: NotebookNode) -> str:
    """Return what a cell that draws says of its figure."""
    first, _, _ = cell.source.partition("\n")
    return first.removeprefix(FIGURE)
