"""All groups of clients of a server."""

from collections.abc import Iterator, Mapping

from backhaul.config import ServerConfig
from backhaul.config.diff import port_change
from backhaul.config.groups import ServedGroup
from backhaul.config.kinds import kinds_of
from backhaul.net.listeners import Listeners
from backhaul.net.poller import Poller

from .group import Group
from .news import News
from .server import ServerTunnel
from .timings import Timings


class Groups:
    """The groups by their names; ``tunnels`` always holds those of their members, by the names of the clients."""

    def __init__(
        self,
        poller: Poller,
        listeners: Listeners,
        tunnels: Mapping[str, ServerTunnel],
        *,
        timings: Timings,
        news: News,
    ) -> None:
        self._poller = poller
        self._listeners = listeners
        self._tunnels = tunnels
        self._timings = timings
        self._news = news
        self._all: dict[str, Group] = {}

    def __getitem__(self, name: str) -> Group:
        """Return a group."""
        return self._all[name]

    def __iter__(self) -> Iterator[Group]:
        """Iterate over the groups."""
        return iter(self._all.values())

    def add(self, config: ServerConfig, group: ServedGroup) -> Group:
        """Make a group, which does not listen yet, and return it."""
        made = Group(config, group, self._poller, self._listeners, timings=self._timings, news=self._news)
        made.serve(self._members(group))
        self._all[group.name] = made
        return made

    def make_way(self, old: ServerConfig, new: ServerConfig) -> None:
        """Close ports that are no longer needed, because a client or another group may get them."""
        kinds = kinds_of(new)
        after = {group.name: group for group in new.groups.named}
        for group in old.groups.named:
            if group.name not in after:
                self._all.pop(group.name).close()
            else:
                self._all[group.name].ports.make_way(kinds, port_change(group.ports, after[group.name].ports))

    def serve(self, old: ServerConfig, new: ServerConfig) -> None:
        """Add and change groups, when all clients are there."""
        before = {group.name: group for group in old.groups.named}
        for group in new.groups.named:
            if group.name in before:
                self._change(new, before[group.name], group)
            else:
                self.add(new, group).start()

    def close(self) -> None:
        """Close the ports of all groups."""
        for group in self:
            group.close()

    def _change(self, config: ServerConfig, before: ServedGroup, after: ServedGroup) -> None:
        present = self._all[after.name]
        present.adopt(config, after, self._members(after))
        present.ports.retry()
        present.ports.add(port_change(before.ports, after.ports).added)

    def _members(self, group: ServedGroup) -> list[ServerTunnel]:
        return [self._tunnels[name] for name in group.clients]
