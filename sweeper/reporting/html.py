"""The page of sweeps as one HTML file that needs no server and no network: its data, its script and Plotly in it."""

import html
import re
from importlib.util import find_spec
from pathlib import Path

from sweeper.reporting.page import Content, as_json
from trainer.errors import UserError

_ASSETS = Path(__file__).with_name("assets")
_SCRIPTS = ("words.js", "figures.js", "parallel.js", "tables.js", "page.js")


def page_html(content: Content, live: str = "") -> str:
    """The page. ``live``: where it asks for newer data, relative to its own address; without it, it asks for none.

    Raises UserError where Plotly is not installed.
    """
    parts = {
        "title": html.escape(", ".join(sweep["name"] for sweep in content["sweeps"])),
        "live": html.escape(live),
        "style": _asset("page.css"),
        "plotly": _plotly(),
        "data": as_json(content),
        "script": "\n".join(map(_asset, _SCRIPTS)),
    }
    return re.sub(r"\{\{ (\w+) \}\}", lambda match: parts[match[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")


def _plotly() -> str:
    """Plotly's own bundle, from its Python package: the one that has parallel coordinates, and needs no network."""
    spec = find_spec("plotly")
    for folder in (spec and spec.submodule_search_locations) or ():
        return (Path(folder) / "package_data" / "plotly.min.js").read_text("utf-8")
    raise UserError("the page needs plotly: pip install 'imbalanced-cil-sweeper[page]'")
