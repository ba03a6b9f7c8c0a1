"""Files that are not valid TOML: place and remedy."""

import pytest
from tests.support.config import SERVER, problems

BEFORE = "not valid TOML: "
VALUE = "Invalid value (at line 3, column 13)"
KEY = "Expected '=' after a key in a key/value pair (at line 3, column 10)"


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("transport = tcp", f'{VALUE}; write texts in quotes, such as "tcp"'),
        (
            "transport = \u201ctcp\u201d",
            f"{VALUE}; U+201C (left double quotation mark) stands there, replace it by a plain character",
        ),
        ("transport\u00a0= 'tcp'", f"{KEY}; U+00A0 (no-break space) stands there, replace it by a plain character"),
        ("transport: 'tcp'", f"{KEY}; write key = value, one on each line"),
        (
            "\ue000 = 3",
            "Invalid statement (at line 3, column 1); U+E000 (no letter) stands there, replace it by a plain character",
        ),
        ("[transport", "Expected ']' at the end of a table declaration (at line 3, column 11); correct this line"),
        ('transport = "tcp', "Illegal character '\\n' (at line 3, column 17); close the quotes, and remove control"),
        ("token = 'one'\ntoken = 'two'", "Cannot overwrite a value (at line 4, column 14); the key stands there twice"),
        ("[server]", "Cannot declare ('server',) twice (at line 3, column 8); the table stands there twice"),
        ('transport = "C:\\x"', "Unescaped '\\' in a string (at line 3, column 18); write paths in single quotes"),
        ("transport = 'tcp", 'Expected "\'" (at end of document); close the quotes'),
        ('transport = """', "Unterminated string (at end of document); close the quotes"),
        (f"heartbeat = {'9' * 5000}", "a number has too many digits; correct it"),
        (f"transport = {'[' * 5000}", "too deeply nested; remove brackets"),
    ],
)
def test_the_message_names_place_and_remedy(written: str, problem: str) -> None:
    lines = SERVER.splitlines()
    (found,) = problems("\n".join([*lines[:2], written, lines[3]]))
    assert found.startswith(BEFORE + problem)
