"""The files of the site that ``make docs`` builds.

Pages keep the places that they have in the repository, so that their links lead to the same pages in both.
"""

import json
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

SHOWN = (
    "README.md",
    "LICENSE",
    "docs/*.md",
    "docs/*.ipynb",
    "docs/images/*",
    "docs/schemas/*.json",
    "docs/stylesheets/*.css",
    "search_spaces/*.yaml",
    "benchmarks/README.md",
    "benchmarks/results/*.md",
    "benchmarks/results/*.png",
)
"""pages, and what they link to"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """What MkDocs shows, instead of the folder of pages alone: ``SHOWN``, and the theme's files."""
    for file in list(files):
        if file.src_dir == config.docs_dir:
            files.remove(file)
    for path in sorted(path for pattern in SHOWN for path in ROOT.glob(pattern)):
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".ipynb":
            files.append(File.generated(config, _page_of(name), content=markdown(path)))
        else:
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(text: str, **_: object) -> str:
    """The text of a page, with links to notebooks leading to their pages."""
    return text.replace(".ipynb)", ".md)")


def _page_of(notebook: str) -> str:
    return notebook.removesuffix(".ipynb") + ".md"


def markdown(notebook: Path) -> str:
    """A notebook's text, with its code as blocks; outputs are not stored."""
    cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(notebook.read_text())["cells"]]
    return "\n\n".join(f"```python\n{text}\n```" if kind == "code" else text for kind, text in cells)
