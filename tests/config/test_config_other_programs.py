"""Files of other programs: one line names the program and the remedy, instead of a mistake for each key."""

import pytest

from backhaul.config import ConfigError
from backhaul.config.loader import parse


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ('[listener]\nbind_addr = ":443"\n[transport]\ntype = "tcp"', "Backhaul's premium edition"),
        ('[dialer]\nremote_addr = "a:443"', "Backhaul's premium edition"),
        ('[ipx]\nmode = "server"', "Backhaul's premium edition"),
        ('serverAddr = "a"\nserverPort = 7000', "frp"),
        ("bindPort = 7000", "frp"),
        ("[common]\nbind_port = 7000", "frp"),
        ('[server]\nbind_addr = "0.0.0.0:1"\n[server.services.a]\nbind_addr = "0.0.0.0:2"', "rathole"),
        ('[client]\nremote_addr = "a:1"\n[client.services.a]\nlocal_addr = "127.0.0.1:2"', "rathole"),
    ],
)
def test_the_command_that_converts_is_named(text: str, program: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    remedy = "`backhaul convert FILE` makes files of this program from it"
    assert caught.value.problems == (f"a file of {program}; {remedy}",)


@pytest.mark.parametrize("text", ["[server]\n[listener]", "[client]\nserverAddr = 1", "server = 1\nservices = 1"])
def test_a_file_with_a_table_of_this_program_is_its_own(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert "convert" not in str(caught.value)
