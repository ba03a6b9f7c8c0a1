"""The completion for fish."""

from collections.abc import Iterator
from typing import Final

from backhaul.cli.tree import Argument, Command

_SCRIPT: Final = """\
# Completion of fish for backhaul; made by `backhaul completion fish`.
function __backhaul_in --description 'Tell whether the words before the cursor name this command'
    set -l command ''
    set -l skip 0
    for word in (commandline -opc)[2..]
        if test $skip = 1
            set skip 0
            continue
        end
        switch "$command $word"
            case {valued}
                set skip 1
            case {commands}
                set command "$command $word"
        end
    end
    test "$command" = "$argv[1]"
end

complete -c backhaul -f
{lines}
"""


def script(program: Command) -> str:
    """Return the script."""
    commands = list(program.walk())
    valued = [f"{one.path} {flag}" for one in commands for option in one.valued for flag in option.flags]
    return _SCRIPT.format(
        valued=" ".join(map(_quoted, valued)),
        commands=" ".join(_quoted(one.path) for one in commands if one.words),
        lines="\n".join(line for one in commands for line in _lines(one)),
    )


def _lines(command: Command) -> Iterator[str]:
    here = f"complete -c backhaul -n {_quoted(f'__backhaul_in {_quoted(command.path)}')}"
    for below in command.commands:
        yield f"{here} -a {below.words[-1]} -d {_quoted(below.help)}"
    for option in command.options:
        names = " ".join(f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags)
        value = f" {_kind(option)}{_values(option)}" if option.value else ""
        yield f"{here} {names}{value} -d {_quoted(option.help)}"
    for argument in command.positionals:
        if values := _values(argument):
            yield f"{here}{values} -d {_quoted(argument.help or argument.value)}"


def _kind(option: Argument) -> str:
    """Return the flag for an option with a value, which excludes files unless the value is one."""
    return "-r" if option.value == "FILE" else "-x"


def _values(argument: Argument) -> str:
    if argument.value == "FILE":
        return " -F"
    if argument.value == "DIR":
        return " -a '(__fish_complete_directories)'"
    return f" -a {_quoted(' '.join(argument.choices))}" if argument.choices else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
