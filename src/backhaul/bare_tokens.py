"""Warnings about servers that may get the bare token, because they were not protected before."""

import msgspec

from backhaul.config.doors import bare_tokens
from backhaul.config.schema import Config
from backhaul.system.known_servers import KnownServers
from backhaul.system.state_directory import state_directory


def warned(config: Config) -> Config:
    """Return a loaded configuration with these warnings added; reads the client's memory of protected servers."""
    found = tuple(bare_tokens(config, KnownServers(state_directory()).protected))
    return msgspec.structs.replace(config, warnings=(*config.warnings, *found))
