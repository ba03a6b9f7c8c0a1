"""The commands and arguments of a parser as plain data, for completions and the man page."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """An option, or an argument without a name."""

    flags: tuple[str, ...]
    """Empty for an argument without a name."""
    value: str
    """The name of the value, as in ``FILE``; empty if the option takes none."""
    choices: tuple[str, ...]
    """The values allowed; empty for any."""
    required: bool
    repeats: bool
    """True for several values, or for an option that may occur several times."""
    help: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command with its arguments and the commands below it."""

    words: tuple[str, ...]
    """The words that name it after the program; empty for the program itself."""
    help: str
    options: tuple[Argument, ...]
    positionals: tuple[Argument, ...]
    commands: tuple["Command", ...]

    @property
    def path(self) -> str:
        """The words with a space before each, as they follow the program on a command line."""
        return "".join(f" {word}" for word in self.words)

    @property
    def valued(self) -> tuple[Argument, ...]:
        """The options that take a value."""
        return tuple(option for option in self.options if option.value)

    def walk(self) -> Iterator["Command"]:
        """Yield this command and all commands below it."""
        yield self
        for command in self.commands:
            yield from command.walk()


def read(parser: argparse.ArgumentParser, words: tuple[str, ...] = (), about: str = "") -> Command:
    """Return the command that a parser reads."""
    # argparse has no public way to list what was added.
    actions = parser._actions  # noqa: SLF001
    arguments = [_argument(action) for action in actions if not isinstance(action, argparse._SubParsersAction)]  # noqa: SLF001
    return Command(
        words=words,
        help=about or parser.description or "",
        options=tuple(argument for argument in arguments if argument.flags),
        positionals=tuple(argument for argument in arguments if not argument.flags),
        commands=tuple(command for action in actions for command in _commands(action, words)),
    )


def find(parser: argparse.ArgumentParser, words: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of the command that the words name; the parser itself without words."""
    for action in parser._actions if words else ():  # noqa: SLF001
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            return find(action.choices[words[0]], words[1:])
    return parser


def _commands(action: argparse.Action, words: tuple[str, ...]) -> Iterator[Command]:
    if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
        for listed in action._get_subactions():  # noqa: SLF001
            yield read(action.choices[listed.dest], (*words, listed.dest), listed.help or "")


def _argument(action: argparse.Action) -> Argument:
    choices = tuple(map(str, action.choices or ()))
    known = vars(action) | {"choices": ", ".join(choices)}
    name = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return Argument(
        flags=tuple(action.option_strings),
        value="" if action.nargs == 0 else name,
        choices=choices,
        required=action.required,
        repeats=action.nargs in ("+", "*") or isinstance(action, argparse._AppendAction),  # noqa: SLF001
        help=(action.help or "") % known,
    )
