"""All limits of users on the public end."""

from collections.abc import Callable, Iterator

from backhaul.config.limits import LimitTables
from backhaul.relay.engine import Relay
from backhaul.state import UserState

from .admission import Admission
from .expiry import Expiry
from .ledger import Store
from .network_files import NetworkFiles
from .news import News
from .quotas import Counted, Quotas
from .rates import RateTable
from .timings import Timings


class Limiting:
    """Changes and ends all limits together."""

    def __init__(self, relay: Relay, timings: Timings, waiting: Callable[[], int], *, news: News, store: Store) -> None:
        """Begin without limits; ``waiting`` returns the number of users of streams without a carrier.

        ``store`` keeps the bytes of the present day and month.
        """
        self.quotas = Quotas(relay, timings, news, store)
        self.admission = Admission(
            NetworkFiles(timings.lists),
            relay.loop.time,
            lambda: len(relay.live) + waiting() + len(relay.flows),
            self.quotas.objection,
        )
        self.rates = RateTable(relay.loop)
        self._expiry = Expiry(relay, timings.expiry)

    async def apply(self, tables: LimitTables, users: Callable[[], Iterator[UserState]]) -> None:
        """Use other limits, also for present users; raise BackhaulError if a file of them is unusable."""
        await self.admission.limit(tables, ((user.bind_port, user.host) for user in users()))
        self.rates.apply(tables)
        self._expiry.apply(tables)
        await self.quotas.apply(tables)

    def left(self, user: Counted, moved: int) -> None:
        """Count the end of a user, who has moved so many bytes."""
        self.admission.left(user.bind_port, user.ip)
        self.quotas.count(user, moved)

    def close(self) -> None:
        """Watch nothing any more."""
        self.admission.close()
        self._expiry.close()

    async def finish(self) -> None:
        """Store what has been counted, when all users have left."""
        await self.quotas.finish()
