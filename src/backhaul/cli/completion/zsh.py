"""The completion for zsh."""

from collections.abc import Iterator
from typing import Final

from backhaul.cli.tree import Argument, Command

_SCRIPT: Final = """\
#compdef backhaul
# Completion of zsh for backhaul; made by `backhaul completion zsh`.

{functions}
if [[ $funcstack[1] == _backhaul ]]; then
    _backhaul "$@"
else
    compdef _backhaul backhaul
fi
"""

_LEAF: Final = """\
{name}() {{
    _arguments -s {arguments}
}}
"""

_BRANCH: Final = """\
{name}() {{
    local curcontext=$curcontext state line ret=1
    local -a commands=({listed})
    _arguments -s -C {arguments} '1:command:->command' '*::argument:->below' && ret=0
    case $state in
    command) _describe -t commands command commands && ret=0 ;;
    below)
        curcontext="${{curcontext%:*:*}}:{context}-$line[1]:"
        case $line[1] in
{branches}
        esac
        ;;
    esac
    return ret
}}
"""


def script(program: Command) -> str:
    """Return the script."""
    return _SCRIPT.format(functions="\n".join(_function(command) for command in program.walk()))


def _function(command: Command) -> str:
    arguments = " ".join([*map(_option, command.options), *_positionals(command)])
    if not command.commands:
        return _LEAF.format(name=_name(command), arguments=arguments)
    return _BRANCH.format(
        name=_name(command),
        context="-".join(("backhaul", *command.words)),
        arguments=arguments,
        listed=" ".join(_quoted(f"{below.words[-1]}:{below.help}") for below in command.commands),
        branches="\n".join(f"        {below.words[-1]}) {_name(below)} && ret=0 ;;" for below in command.commands),
    )


def _name(command: Command) -> str:
    return "_".join(("_backhaul", *command.words))


def _option(option: Argument) -> str:
    value = f":{_plain(option.value)}:{_values(option)}" if option.value else ""
    text = f"[{_plain(option.help)}]{value}"
    if len(option.flags) == 1:
        return _quoted(f"{'*' if option.repeats else ''}{option.flags[0]}{text}")
    start = _quoted("*" if option.repeats else f"({' '.join(option.flags)})")
    return f"{start}{{{','.join(option.flags)}}}{_quoted(text)}"


def _positionals(command: Command) -> Iterator[str]:
    for argument in command.positionals:
        start = "*" if argument.repeats else ""
        yield _quoted(f"{start}:{_plain(argument.value)}:{_values(argument)}")


def _values(argument: Argument) -> str:
    if argument.value == "FILE":
        return "_files"
    if argument.value == "DIR":
        return "_files -/"
    return f"({' '.join(argument.choices)})" if argument.choices else " "


def _plain(text: str) -> str:
    """Return a description in which brackets and colons mean themselves."""
    return text.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
