"""Print a script that completes ``cil`` in a shell: ``cil completion bash``, ``zsh`` or ``fish``.

The words come from the commands' own parsers. The script is static: completing starts no Python.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

from sweeper.cil import about, commands
from trainer.command import Parser, program
from trainer.errors import exit_code

_HINTS = """
bash   cil completion bash > ~/.local/share/bash-completion/completions/cil
zsh    cil completion zsh > "${fpath[1]}/_cil"
fish   cil completion fish > ~/.config/fish/completions/cil.fish
"""


class Option(NamedTuple):
    """An option of a command, or a positional argument if it has no names."""

    names: tuple[str, ...]
    help: str
    value: bool
    """whether a value follows it"""
    choices: tuple[str, ...]
    """the values that it takes, if they are known"""


def main(argv: Sequence[str] | None = None) -> int:
    shell = parser().parse_args(argv).shell
    print({"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](), end="")
    return 0


def parser() -> argparse.ArgumentParser:
    """The arguments of this command."""
    made = Parser(
        prog=program("sweeper.completion"),
        description="Print a completion script. To install it:",
        epilog=_HINTS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("shell", choices=("bash", "zsh", "fish"), help="the shell that completes")
    return made


def options(command: str) -> list[Option]:
    """The arguments of a command, as its parser has them."""
    actions = importlib.import_module(commands()[command]).parser()._actions  # argparse has no public way
    return [
        Option(
            tuple(action.option_strings),
            _plain(str(action.help or "")),
            action.nargs != 0,
            tuple(map(str, action.choices or ())),
        )
        for action in actions
        if action.help != argparse.SUPPRESS
    ]


def _bash() -> str:
    cases, values = "", ""
    for command in commands():
        names = [name for option in options(command) for name in option.names]
        free = [word for option in options(command) if not option.names for word in option.choices]
        cases += f"        {command}) flags='{' '.join(names)}' free='{' '.join(free)}' ;;\n"
        for option in options(command):
            if option.names and option.choices:
                pattern = "|".join(f"{command}:{name}" for name in option.names)
                values += f"        {pattern}) flags= free='{' '.join(option.choices)}' ;;\n"
    return f"""_cil() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} flags= free=
    if ((COMP_CWORD == 1)); then
        flags='--help --version' free='{" ".join(commands())}'
    fi
    case ${{COMP_WORDS[1]}} in
{cases}    esac
    case ${{COMP_WORDS[1]}}:$previous in
{values}    esac
    [[ $current == -* ]] && free=$flags
    COMPREPLY=($(compgen -W "$free" -- "$current"))
}}
complete -o bashdefault -o default -F _cil cil
"""


def _zsh() -> str:
    described = "\n".join(f"        '{command}:{_plain(about(command))}'" for command in commands())
    cases = ""
    for command in commands():
        words = []
        for option in options(command):
            values = f"({' '.join(option.choices)})" if option.choices else "_files"
            takes = f":value:{values}" if option.value else ""
            words += [f"'{name}[{option.help}]{takes}'" for name in option.names] or [f"'*:value:{values}'"]
        cases += f"        {command}) _arguments {' '.join(words)} ;;\n"
    return f"""#compdef cil
_cil() {{
    local -a commands=(
{described}
    )
    if ((CURRENT == 2)); then
        _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    ((CURRENT--))
    case $command in
{cases}    esac
}}
if [ "$funcstack[1]" = "_cil" ]; then _cil "$@"; else compdef _cil cil; fi
"""


def _fish() -> str:
    lines = []
    for command in commands():
        lines.append(f"complete -c cil -f -n __fish_use_subcommand -a {command} -d '{_plain(about(command))}'")
        start = f"complete -c cil -n '__fish_seen_subcommand_from {command}'"
        for option in options(command):
            flags = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
            choices = [f"-x -a '{' '.join(option.choices)}'"] if option.choices else ["-r"] if option.value else []
            if flags or option.choices:
                lines.append(" ".join([start, *flags, *choices, f"-d '{option.help}'"]))
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """The help of an argument without what shells treat specially, and without its default."""
    return re.sub(r"[\[\]:'\"\\`$%]", "", text.partition(" (default")[0])


if __name__ == "__main__":
    sys.exit(exit_code(main))
