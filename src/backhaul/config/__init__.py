"""The configuration: typed keys, port mappings, and a loader whose errors name file, key and remedy.

No function here opens a socket. The only files read are the configuration itself and those it names.
"""

from .address import Address
from .errors import ConfigError
from .loader import load, load_usable
from .ports import PortMapping
from .schema import ClientConfig, ServerConfig
from .secret import Secret

__all__ = ["Address", "ClientConfig", "ConfigError", "PortMapping", "Secret", "ServerConfig", "load", "load_usable"]
