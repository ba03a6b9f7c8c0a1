"""All limits of users on the public end."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from backhaul.addresses import plain_ip
from backhaul.config.limits import ALL_PORTS, NO_LIMITS, LimitTables
from backhaul.state import LimitState, UserState

from .admission import Admission, Objection
from .client_admission import ClientAdmission
from .expiry import Expiry
from .ledger import Store
from .limit_states import table_states
from .network_files import NetworkFiles
from .news import News
from .places import Headcount, Room
from .port import Port
from .quotas import Counted, Quotas
from .rates import RateTable
from .timings import Timings

if TYPE_CHECKING:
    from .resources import LookResources


class Limiting:
    """Changes and ends all limits together."""

    def __init__(
        self,
        relay: "LookResources",
        timings: Timings,
        everyone: Headcount,
        *,
        news: News,
        store: Store,
        clock: Callable[[], float],
    ) -> None:
        """Begin without limits; ``everyone`` has the number of present users.

        ``store`` keeps the bytes of the present day and month, which ``clock`` tells in seconds since 1970.
        """
        self.quotas = Quotas(relay, timings, news, store, clock)
        self._everyone = everyone
        files = NetworkFiles(timings.lists)
        self.admission = Admission(files, relay.loop.time, self._present, self.quotas.objection)
        self._clients = ClientAdmission(files, relay.loop.time)
        self.rates = RateTable(relay.loop)
        self._expiry = Expiry(relay, timings.expiry)
        self._tables = LimitTables()
        self.unlimited = True
        """True while there are no limits, and nothing is counted, as on most servers."""

    def _present(self) -> int:
        return self._everyone.users

    async def apply(self, tables: LimitTables, users: Callable[[], Iterator[UserState]]) -> None:
        """Use other limits, also for present users; raise BackhaulError if a file of them is unusable."""
        wanted = any(limits != NO_LIMITS for limits in tables.every)
        self.unlimited &= not wanted  # from the first user who enters under these limits
        await self.admission.limit(tables, ((user.bind_port, user.host) for user in users()))
        self._clients.limit(tables.clients)
        self.rates.apply(tables)
        self._expiry.apply(tables)
        await self.quotas.apply(tables)
        self._tables = tables
        self.unlimited = not wanted

    def objection(self, port: Port, address: tuple[Any, ...], room: Room) -> Objection | None:
        """Return why a new user of ``port`` is refused, if so; otherwise count the user, except in ``room``."""
        objection = room.objection(plain_ip(address)) or self.admission.objection(
            port.mapping.bind_port, address, port.users
        )
        if not objection:
            self._clients.enter(room.client)
        return objection

    def passed_on(self, client: str) -> None:
        """Count a user whom another client of a group has left to this one."""
        self._clients.enter(client)

    def objection_to(self, client: str, ip: str) -> Objection | None:
        """Return why a new user of a client and of an address is refused, if so."""
        return self._clients.objection(client, ip) or self.quotas.objection_to(client)

    def states(self, ports: Iterable[Port], clients: Mapping[str, int]) -> Iterator[LimitState]:
        """Return the limits in force and their use, of all ports and clients with their users."""
        if self.unlimited:  # there may be a thousand ports
            return
        users = _most(ports) | {ALL_PORTS: self._present()}
        quotas = self.quotas.used()
        for name, limits, port in self._tables.named():
            used = self.admission.used(port, users.get(port, 0)) | quotas.get(name, {})
            yield from table_states(name, limits, used, self.admission.listed(port))
        for client, limits in self._tables.clients:
            name = f"clients.{client}"
            used = {"max_users": clients.get(client, 0)} | self._clients.used(client) | quotas.get(name, {})
            for state in table_states(name, limits, used, self._clients.listed(client)):
                yield replace(state, limit="max_connections") if state.limit == "max_users" else state

    def left(self, user: Counted, moved: int) -> None:
        """Count the end of a user and the bytes that they have moved."""
        self.admission.left(user.bind_port, user.ip)
        self.quotas.count(user, moved)

    def close(self) -> None:
        """Stop watching."""
        self.admission.close()
        self._expiry.close()

    async def finish(self) -> None:
        """Store the counted bytes, when all users have left."""
        await self.quotas.finish()


def _most(ports: Iterable[Port]) -> dict[int, int]:
    """Return the users of each port; of several addresses with one, those of the fullest, as each is limited alone."""
    users: dict[int, int] = {}
    for port in ports:
        number = port.mapping.bind_port
        users[number] = max(users.get(number, 0), port.users)
    return users
