"""The README guides: it lists every page, in the order of the site, and six lines lead to a promoted run file."""

import re

from support.pages import ROOT, blocks, commands, navigation

TEXT = (ROOT / "README.md").read_text()


def test_pages_are_listed_in_the_order_of_the_site() -> None:
    listed = re.findall(r"^\| \[.*?\]\((\S+?)\)", TEXT, re.MULTILINE)
    assert ["README.md", *(page.replace(".ipynb", ".md") for page in listed)] == navigation()


def test_own_images_take_six_lines() -> None:
    (block,) = [block for block in blocks("README.md", "sh") if "cil init" in block.text]
    named = [words[1] for words in commands(block.text) if words[0] == "cil"]
    assert named == ["look", "init", "launch", "query", "promote"]
    assert len(block.text.splitlines()) == 6
