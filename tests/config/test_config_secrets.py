"""Secrets of the configuration appear in no text, no error and no comparison."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.texts import CHARACTERS

from backhaul.config import ConfigError, Secret
from backhaul.config.loader import parse

SERVER = '[server]\nbind_addr = "0.0.0.0:3080"\ntransport = "tcp"\n'


@given(st.text(CHARACTERS, min_size=1).filter(lambda text: text.strip() and "'" not in text))
def test_secrets_are_never_shown(secret: str) -> None:
    hidden = Secret("swordfish" + secret)
    assert (str(hidden), repr(hidden), f"{hidden}") == ("***", "***", "***")
    assert hidden.reveal() == "swordfish" + secret


@pytest.mark.parametrize("name", ["token", "web_password"])
@pytest.mark.parametrize("value", ['"gold\\nfish"', '["goldfish"]', "{gold = 'fish'}", '"' + "goldfish" * 9000 + '"'])
def test_refused_secrets_are_not_shown(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(SERVER + f"{name} = {value}\nheartbeat = -1\n")
    assert not any("gold" in problem or "fish" in problem for problem in caught.value.problems)


def test_secrets_are_compared_by_their_text() -> None:
    assert {Secret("a"), Secret("a"), Secret("b")} == {Secret("a"), Secret("b")}
    assert Secret("a") != "a"


def test_configurations_show_no_secrets() -> None:
    config = parse(SERVER + 'token = "swordfish"\nweb_user = "me"\nweb_password = "swordfish"')
    assert "swordfish" not in repr(config)
    assert config.web_password.reveal() == "swordfish"
