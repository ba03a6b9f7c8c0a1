"""The networks whose addresses may connect, or may not."""

from backhaul.addresses import LOCAL
from backhaul.config.limits import Limits
from backhaul.networks import Networks

from .network_files import NetworkFiles


class Lists:
    """The lists of one table, with those of its files. Users of Unix sockets have no address, and may connect."""

    def __init__(self, limits: Limits, files: NetworkFiles) -> None:
        """Use the networks that ``files`` holds now and later."""
        self._limits = limits
        self._files = files
        self._allow = Networks(limits.allow)
        self._deny = Networks(limits.deny)

    def objection(self, ip: str) -> str:
        """Return the name of the list that refuses a user of this address, or nothing."""
        if ip == LOCAL:
            return ""
        limits = self._limits
        if ip in self._deny or ip in self._files[limits.deny_file]:
            return "deny"
        if not (limits.allow or limits.allow_file) or ip in self._allow:
            return ""
        return "" if ip in self._files[limits.allow_file] else "allow"

    def sizes(self) -> dict[str, int]:
        """Return the number of networks in each list that has some."""
        allowed, denied = self._files[self._limits.allow_file], self._files[self._limits.deny_file]
        sizes = {"allow": self._allow.size + allowed.size, "deny": self._deny.size + denied.size}
        return {limit: size for limit, size in sizes.items() if size}
