"""Mistakes in the syntax of TOML, with their remedies."""

import re
import tomllib
import unicodedata
from typing import Final

_PLACE: Final = re.compile(r"\(at line (\d+), column (\d+)\)")
_REMEDIES: Final = {  # by the beginning of a message of tomllib
    "Invalid value": 'write texts in quotes, such as "tcp"',
    "Expected '='": "write key = value, one on each line",
    "Cannot overwrite a value": "the key stands there twice; remove one",
    "Cannot declare": "the table stands there twice; join both",
    "Illegal character": "close the quotes, and remove control characters",
    "Expected \"'": "close the quotes",
    "Unterminated string": "close the quotes",
    "Unescaped '\\'": "write paths in single quotes, or \\\\ for each \\",
}
_CORRECT: Final = "correct this line"


def toml_mistake(text: str, error: ValueError | RecursionError) -> str:
    """Return the reason why tomllib can't read ``text``, with the remedy."""
    if isinstance(error, RecursionError):
        return "not valid TOML: too deeply nested; remove brackets"
    if not isinstance(error, tomllib.TOMLDecodeError):
        return "not valid TOML: a number has too many digits; correct it"
    return f"not valid TOML: {error}; {_foreign(text, error) or _remedy(error)}"


def _foreign(text: str, error: tomllib.TOMLDecodeError) -> str:
    """Return the remedy for a character that looks like another one, as word processors and web pages have them."""
    if not (place := _PLACE.search(str(error))):
        return ""
    line, column = int(place[1]), int(place[2])
    character = text.split("\n")[line - 1][column - 1 : column]
    if character.isascii():
        return ""
    name = unicodedata.name(character, "no letter").lower()
    return f"U+{ord(character):04X} ({name}) stands there, replace it by a plain character"


def _remedy(error: tomllib.TOMLDecodeError) -> str:
    found = (remedy for start, remedy in _REMEDIES.items() if str(error).startswith(start))
    return next(found, _CORRECT)
