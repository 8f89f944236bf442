"""Records of results: values, machine and commit, as JSON for programs and Markdown for people."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainer.files import atomic_write
from trainer.results.provenance import versions

RESULTS = Path(__file__).parent / "results"


def record(name: str, content: Mapping[str, Any], paragraphs: Sequence[str]) -> None:
    """Write NAME.json, ``content`` with date, machine and versions, and NAME.md, ``paragraphs`` below the name.

    Empty paragraphs are left out. The second paragraph from the top says when and where it was measured.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    found = {**content, "at": now, "cores": os.cpu_count(), "versions": versions()}
    where = f"Recorded {now} on {found['cores']} CPU cores, torch {found['versions']['torch']}."
    RESULTS.mkdir(exist_ok=True)
    atomic_write(RESULTS / f"{name}.json", (json.dumps(found, indent=1) + "\n").encode())
    text = "\n\n".join([f"# {name}", *(p for p in (*paragraphs[:1], where, *paragraphs[1:]) if p)])
    atomic_write(RESULTS / f"{name}.md", f"{text}\n".encode())
