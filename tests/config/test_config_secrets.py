"""Secrets of the configuration appear in no text, no error and no comparison."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.texts import CHARACTERS

from backhaul.config import ConfigError, Secret
from backhaul.config.loader import parse
from backhaul.system.token import PREFIX

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


PEM = "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEIsecret\\n-----END PRIVATE KEY-----\\n"
PATHS = ["server.tls_cert", "server.tls_key", "server.web_cert", "server.web_key", "server.web_client_ca",
         "server.token_file", "client.tls_ca", "client.token_file"]  # fmt: skip


@pytest.mark.parametrize("key", PATHS)
@pytest.mark.parametrize(("secret", "kind"), [(PEM, "several lines of text"), (f"{PREFIX}secret", "a token")])
def test_a_secret_in_place_of_its_file_is_not_shown(key: str, secret: str, kind: str) -> None:
    side, name = key.split(".")
    with pytest.raises(ConfigError) as caught:
        parse(f'[{side}]\ntransport = "wss"\nweb_port = 2060\n{name} = "{secret}"\n')
    (problem,) = [problem for problem in caught.value.problems if problem.startswith(f"{key}: expected")]
    assert problem == f"{key}: expected the path of a file, got {kind}; save it in a file, and name that"
    assert not any("secret" in problem for problem in caught.value.problems)
