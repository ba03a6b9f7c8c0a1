"""The error for a configuration that cannot be used."""

from collections.abc import Iterable

from backhaul.errors import BackhaulError


class ConfigError(BackhaulError):
    """All mistakes found in a configuration, one line each.

    ``problems`` holds the lines; ``str()`` joins them. Secrets never appear in either.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
