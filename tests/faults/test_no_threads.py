"""An end that can start no thread for a while: what waits for the disk is put off, and nothing ends."""

from pathlib import Path

import pytest
from tests.support.clock import Clock
from tests.support.net import echo, free_port, until
from tests.support.threadless import threadless
from tests.support.tunnel import Net, change

from backhaul.config.limits import Limits, LimitTables
from backhaul.system.shared_files import SharedFile
from backhaul.threads import in_thread
from backhaul.tunnel.ledger import MAX_FILE
from backhaul.tunnel.network_files import NetworkFiles
from backhaul.tunnel.news import News
from backhaul.tunnel.quotas import Quotas
from backhaul.tunnel.timings import Timings


async def test_a_call_that_gets_no_thread_is_never_made() -> None:
    with threadless(), pytest.raises(OSError, match="can't start new thread"):
        await in_thread(pytest.fail, "called")
    assert await in_thread(divmod, 7, 2) == (3, 1)


async def test_other_errors_of_a_call_are_its_own() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(divmod, 1, 0)
    with pytest.raises(RuntimeError, match="another"):
        await in_thread(_fail)


def _fail() -> None:
    raise RuntimeError("another")


async def test_a_list_of_networks_is_read_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "allowed"
    path.write_text("192.0.2.0/24\n")
    files = NetworkFiles(0.01)
    await files.learn({"allow_file": str(path)})
    with threadless():
        path.write_text("198.51.100.0/24\n203.0.113.0/24\n")
        await until(lambda: caplog.messages)
        assert caplog.messages == [f"allow_file: {path}: can't start new thread; the list in force stays"]
        assert files[str(path)].size == 1
    await until(lambda: files[str(path)].size == 2)
    files.close()


async def test_bytes_are_stored_later_and_once(net: Net, tmp_path: Path) -> None:
    store = SharedFile(tmp_path / "quotas", MAX_FILE)
    relay = (await net.server(free_port())).relay
    quotas = Quotas(relay, Timings(), News(), store, Clock())
    await quotas.apply(LimitTables(Limits(bytes_per_day=10)))
    quotas.count(User(), 7)
    with threadless():
        await quotas.apply(LimitTables(Limits(bytes_per_day=10)))
    await quotas.finish()
    assert b'"used":7' in store.file.read_bytes()


async def test_bytes_are_stored_without_a_thread_at_the_end(net: Net, tmp_path: Path) -> None:
    store = SharedFile(tmp_path / "quotas", MAX_FILE)
    quotas = Quotas((await net.server(free_port())).relay, Timings(), News(), store, Clock())
    await quotas.apply(LimitTables(Limits(bytes_per_day=10)))
    quotas.count(User(), 7)
    with threadless():
        await quotas.finish()
    assert b'"used":7' in store.file.read_bytes()


class User:
    """A user of port 443."""

    counted, bind_port, client, ip = 0, 443, "", "192.0.2.1"


async def test_a_reload_is_refused(net: Net) -> None:
    tunnel = await net.tunnel(await net.echo())
    user = await tunnel.user()
    with threadless(), pytest.raises(OSError, match="can't start new thread"):
        await change(tunnel.server, limits=LimitTables(Limits(bytes_per_day=1000)), keepalive_period=33)
    await echo(user, b"hello")
