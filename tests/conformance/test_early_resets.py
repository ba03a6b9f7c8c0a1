"""Users who are gone before their target is reached: it gets the bytes that they have sent."""

from tests.support.names import Names
from tests.support.net import HOST, echo, free_port, until, until_reset
from tests.support.tunnel import Net

MESSAGE = b"a measurement, sent without waiting for an answer"


async def test_a_reset_while_the_target_is_looked_up(any_net: Net) -> None:
    names, listener = Names(), any_net.listen()
    bind_port, port, other = free_port(), free_port(), free_port()
    mappings = [f"{HOST}:{port}=target.example:{listener.port}", f"{HOST}:{other}={await any_net.echo()}"]
    await any_net.server(bind_port, mappings, 'offline = "wait"')
    await any_net.client(bind_port, names=names)
    user = await any_net.dial(port)
    await user.send(MESSAGE)
    await until(lambda: names.asked["target.example"])
    user.reset()
    await echo(await any_net.dial(other), b"after the reset, on the same session")
    names.known["target.example"] = HOST
    names.let_go()
    assert await until_reset(await listener.accept()) == MESSAGE
