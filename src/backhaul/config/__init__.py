"""The configuration: typed keys, port mappings, and a loader whose errors name file, key and remedy.

Nothing here touches a socket. The only files it looks at are the configuration itself and those it names.
"""

from backhaul.config.address import Address
from backhaul.config.errors import ConfigError
from backhaul.config.loader import load, load_usable
from backhaul.config.ports import Mapping
from backhaul.config.schema import ClientConfig, ServerConfig
from backhaul.config.secret import Secret

__all__ = ["Address", "ClientConfig", "ConfigError", "Mapping", "Secret", "ServerConfig", "load", "load_usable"]
