"""The check whether both ends fit: token, transport, versions and security, as the server judges them."""

from typing import Final, NamedTuple

from backhaul import __version__
from backhaul.config import ClientConfig, Secret
from backhaul.errors import reason
from backhaul.wire.upgrade import UNAUTHORIZED

from .envelopes import Silence
from .exchange import Answered, Asker, protection_of
from .finding import Finding, fault, ok, warning
from .wording import milliseconds

SUBJECT: Final = "handshake"
_BAD_REQUEST: Final = 400
_GATEWAY: Final = frozenset({500, 502, 503, 504, *range(520, 531)})
_REMEDIES: Final = {
    101: "let the proxy in between pass cookies, or correct the address",
    401: "exempt the path of the tunnel from the login",
}


class Outcome(NamedTuple):
    """The result of the check."""

    answer: Answered | Silence
    token: Secret
    """The token that the server has, or the last one tried."""
    finding: Finding


async def examine(asker: Asker, config: ClientConfig) -> Outcome:
    """Try the tokens in turn."""
    silence, token = Silence("no token"), config.accepted[0]
    for number, token in enumerate(config.accepted, 1):
        try:
            result = await asker.ask(token.reveal(), asker.waits.answer)
        except TimeoutError:
            return Outcome(Silence("no answer"), token, _mute(config))
        except OSError as error:
            return Outcome(Silence("broken"), token, _broken(error))
        if isinstance(result, Answered):
            return Outcome(result, token, _judged(result, config, number))
        silence = result
    return Outcome(silence, token, _unanswered(silence, config))


def _judged(answered: Answered, config: ClientConfig, number: int) -> Finding:
    hello = answered.hello
    if hello.refusal:
        text, _, remedy = hello.refusal.partition("; ")
        return fault(SUBJECT, f"the server has this token, and refuses: {text}", remedy or "correct the server's file")
    if hello.warning:
        text, _, remedy = hello.warning.partition("; ")
        return warning(SUBJECT, text, remedy)
    if number > 1:
        text = f"the server has token {number} of {len(config.accepted)}, and not those before it"
        return warning(SUBJECT, text, "remove the tokens that it does not have")
    return ok(SUBJECT, f"token and transport {config.transport} fit, {_versions(hello.program)}, {_speed(answered)}")


def _versions(theirs: str) -> str:
    if not theirs:
        return "the server is older than this version"
    return f"both ends run {theirs}" if theirs == __version__ else f"the server runs {theirs}, this end {__version__}"


def _speed(answered: Answered) -> str:
    return f"answered in {milliseconds(answered.seconds)}"


def _mute(config: ClientConfig) -> Finding:
    text = "the server accepts connections, but does not answer"
    return fault(SUBJECT, text, f"is this the server's port, and does it run {config.transport}? Its log may tell more")


def _broken(error: OSError) -> Finding:
    text = f"the connection broke: {reason(error)}"
    return fault(SUBJECT, text, "something in between may close it: a firewall, a proxy, or a server of another kind")


def _unanswered(silence: Silence, config: ClientConfig) -> Finding:
    if silence.what == UNAUTHORIZED:
        return _older(config)
    return fault(SUBJECT, silence.what, _remedy(silence, config))


def _older(config: ClientConfig) -> Finding:
    text = "the server answered 401, as v0.7.2 does"
    if not protection_of(config).allows_v072:
        return fault(SUBJECT, f"{text}, and this file requires protection", "run this program on the server, too")
    remedy = "run this program on both ends; only a started client shows whether v0.7.2 takes the token"
    return warning(SUBJECT, text, remedy)


def _remedy(silence: Silence, config: ClientConfig) -> str:
    if silence.status in _GATEWAY:
        return "start the server, and let the proxy or CDN pass requests to its bind_addr"
    if silence.status and not config.facts.http:
        return "set the transport of the server, ws, wss, wsmux or wssmux, or correct the port"
    if silence.status == _BAD_REQUEST and not config.facts.tls:
        return f'set transport = "{config.facts.twin}" if the server speaks TLS'
    if remedy := _REMEDIES.get(silence.status):
        return remedy
    if config.facts.http:
        return "compare token, path and transport with the server's; its log names a wrong token"
    return "compare token and transport with the server's, whose log gives the reason; v0.7.2 closes it, too"
