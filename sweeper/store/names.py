"""The one rule for names of sweeps and of the run files that are promoted from them, whatever a name comes from."""

import re

from trainer.errors import ConfigError, shown

_LONGEST = 200
"""bytes, so that there is room for what is added to it in names of files"""


def check_name(name: str, file: str | None = None) -> None:
    """Raise ConfigError, on the field ``name`` of ``file``, unless it can name a file and be typed in a shell."""
    if (
        not name.isprintable()
        or name != name.strip()
        or not 0 < len(name.encode()) <= _LONGEST
        or re.match(r"[.-]|.*/", name)
    ):
        allowed = f"up to {_LONGEST} bytes of printable text, without '/', '.' or '-' in front, or a space at an end"
        raise ConfigError(f"{shown(name)} cannot name a file", file=file, field="name", allowed=allowed)
