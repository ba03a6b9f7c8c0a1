"""What the monitor needs from the configuration."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Settings:
    """The keys of the same names; see the configuration reference."""

    web_bind: str
    web_port: int
    """0: no page."""
    web_user: str
    web_password: str = field(repr=False)
    metrics: tuple[str, ...]
    sniffer: bool
    sniffer_log: str

    @property
    def protected(self) -> bool:
        """Whether the page asks for a login."""
        return bool(self.web_user or self.web_password)
