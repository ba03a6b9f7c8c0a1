"""The warning about servers that may get the bare token: in the log and by ``backhaul check``."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from signal import SIGHUP, SIGTERM

import pytest
from tests.support.net import HOST, free_port
from tests.support.program import TOKEN, Program

from backhaul.cli.main import run
from backhaul.system.known_servers import KnownServers
from backhaul.system.state_directory import state_directory

RISK = "security: until the server has been protected once"
OTHER = "b.example:1"


def client(folder: Path, address: str, lines: str = "") -> Path:
    """Write the configuration of a client without another warning; return its file."""
    file = folder / "client.toml"
    file.touch(0o600)
    begin = f'[client]\nremote_addr = "{address}"\ntransport = "tcp"\n'
    file.write_text(f'{begin}token = "{TOKEN}"\nsecurity = "auto"\nskip_optz = true\n{lines}\n')
    return file


class Programs:
    """Runs programs, and ends the remaining ones."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def start(self, *arguments: str | Path) -> Program:
        """Run the program with these arguments."""
        program = await Program.start(*arguments)
        self._stack.push_async_callback(program.kill)
        return program


@pytest.fixture
async def programs() -> AsyncIterator[Programs]:
    async with AsyncExitStack() as stack:
        yield Programs(stack)


@pytest.mark.parametrize(
    ("protected", "keys"), [([], ["security"]), (["a:1"], ["servers[1].security"]), (["a:1", OTHER], [])]
)
def test_check_names_the_servers_that_were_not_protected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], protected: list[str], keys: list[str]
) -> None:
    file = client(tmp_path, "a:1", f'servers = [{{ addr = "{OTHER}" }}]')
    for server in protected:
        KnownServers(state_directory()).remember(server)
    with pytest.raises(SystemExit) as end:
        run(["check", "--strict", str(file)])
    assert end.value.code == (2 if keys else 0)
    found = [line.strip() for line in capsys.readouterr().out.splitlines() if ": until the server has been" in line]
    assert [line.partition(":")[0] for line in found] == keys


async def test_the_log_warns_until_the_server_has_been_protected(programs: Programs, tmp_path: Path) -> None:
    port = free_port()
    behind = client(tmp_path, f"{HOST}:{port}")
    public = tmp_path / "public.toml"
    public.write_text(
        f'[server]\nbind_addr = "{HOST}:{port}"\ntransport = "tcp"\ntoken = "{TOKEN}"\nskip_optz = true\n'
    )
    alone = await programs.start("-c", behind)
    await alone.line(RISK)
    await alone.line("can't connect to")
    alone.signal(SIGHUP)
    await alone.line(RISK)
    alone.signal(SIGTERM)
    assert await alone.ended() == 0
    both = await programs.start("-c", behind, "-c", public)
    await both.line("] client: tunnel is up")
    assert RISK in both.text
    both.signal(SIGHUP)
    await both.line("] client: configuration reloaded")
    both.signal(SIGTERM)
    assert await both.ended() == 0
    assert both.text.count(RISK) == 1
    again = await programs.start("-c", behind)
    await again.line("can't connect to")
    again.signal(SIGTERM)
    assert await again.ended() == 0
    assert RISK not in again.text
