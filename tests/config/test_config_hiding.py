"""Secrets of a configuration in a text of others."""

import pytest
from tests.support.config import client, server

from backhaul.config.hiding import hide
from backhaul.config.loader import parse

CLIENT = '[client]\nremote_addr = "a.example:1"\ntransport = "tcp"\n'


@pytest.mark.parametrize(
    ("lines", "text", "shown"),
    [
        ('tokens = ["first-token", "second-token"]', "a first-token b second-token", "a *** b ***"),
        ('proxy = "http://me:pass-word@h:1"', "http://me:pass-word@h:1/ pass-word", "***/ ***"),
        ('token = "a-token"\nproxy = "environment"', "via http://u:env-password@h", "via http://u:***@h"),
        ('token = "t"\nservers = [{addr = "b.example:1", token = "other-token"}]', "other-token", "***"),
        ('on_event = "/bin/told --key=very-secret"', "ran /bin/told --key=very-secret", "ran ***"),
    ],
)
def test_each_is_hidden(lines: str, text: str, shown: str) -> None:
    config = parse(CLIENT + lines, {"HTTPS_PROXY": "http://u:env-password@h:1"})
    assert hide(text, config) == shown


def test_those_of_named_clients_are() -> None:
    assert hide("x its-own-token y", server('[server.clients.a]\ntoken = "its-own-token"')) == "x *** y"


def test_the_longest_first() -> None:
    assert hide("password-2", client('web_user = "a"\nweb_password = "password-2"\non_event = "password"')) == "***"


def test_generated_tokens_are_hidden_without_a_configuration() -> None:
    assert hide(f"x=bh1_{'aZ9-_' * 8}. bh1_short", None) == "x=***. bh1_short"


def test_short_words_stay_for_their_absence_would_tell() -> None:
    text = "the tunnel is up"
    assert hide(text, client('web_user = "a"\nweb_password = "tunnel"')) == text
