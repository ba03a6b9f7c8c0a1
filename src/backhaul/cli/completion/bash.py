"""The completion for bash."""

import shlex
from collections.abc import Iterator
from typing import Final

from backhaul.cli.tree import Argument, Command

# Bash splits words at "=", so that of --config=FILE the word before the value is "=".
_SCRIPT: Final = """\
# Completion of bash for backhaul; made by `backhaul completion bash`.
_backhaul() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD - 1]}} command= words= i
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = ]]; then
        previous=${{COMP_WORDS[COMP_CWORD - 2]}}
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$command ${{COMP_WORDS[i]}}" in
{valued}
            ((i++)) ;;
{commands}
            command="$command ${{COMP_WORDS[i]}}" ;;
        esac
    done
    case "$command $previous" in
{values}
    *)
        case "$command" in
{words}
        esac
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -F _backhaul backhaul
"""


def script(program: Command) -> str:
    """Return the script."""
    commands = list(program.walk())
    return _SCRIPT.format(
        valued=_patterns(f"{one.path} {flag}" for one in commands for option in one.valued for flag in option.flags),
        commands=_patterns(one.path for one in commands if one.words),
        values="\n".join(line for one in commands for option in one.valued for line in _value(one, option)),
        words="\n".join(_words(one) for one in commands),
    )


def _patterns(texts: Iterator[str]) -> str:
    return " | \\\n".join(f"        {shlex.quote(text)}" for text in texts) + ")"


def _value(command: Command, option: Argument) -> Iterator[str]:
    yield f"    {' | '.join(shlex.quote(f'{command.path} {flag}') for flag in option.flags)}) {_complete(option)} ;;"


def _complete(argument: Argument) -> str:
    if argument.value == "FILE":
        return "compopt -o default; return"
    if argument.value == "DIR":
        return "compopt -o dirnames; return"
    return f"words={shlex.quote(' '.join(argument.choices))}"


def _words(command: Command) -> str:
    flags = [flag for option in command.options for flag in option.flags]
    words = [below.words[-1] for below in command.commands]
    words += [choice for argument in command.positionals for choice in argument.choices]
    files = [argument for argument in command.positionals if argument.value in ("FILE", "DIR")]
    extra = f"[[ $current == -* ]] || {{ {_complete(files[0])}; }}; " if files else ""
    return f"        {shlex.quote(command.path)}) {extra}words={shlex.quote(' '.join(words + flags))} ;;"
