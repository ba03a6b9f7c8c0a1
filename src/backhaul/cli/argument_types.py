"""The types of arguments of the command line."""

import argparse
import re
from pathlib import Path
from typing import Final, NamedTuple

_MAX_DAYS: Final = 36500
_MAX_ID: Final = 2**63 - 1


def unit(text: str) -> str:
    """Read the name of a unit or user of systemd."""
    if not re.fullmatch(r"[A-Za-z0-9_][\w.-]{0,63}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f'"{text}" may contain only letters, digits, "_", "." and "-"')
    return text


def host(text: str) -> str:
    """Read a host name or an address."""
    from backhaul.config.address import parse_host  # noqa: PLC0415

    try:
        parse_host(text.removeprefix("*."))
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is neither a host name nor an IP address') from None
    return text


def user(text: str) -> str:
    """Read the address of a user, with or without the port."""
    from backhaul.addresses import address_text, parse_user  # noqa: PLC0415

    try:
        return address_text(*parse_user(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not an address such as 192.0.2.1 or [2001:db8::1]:443') from None


def port(text: str) -> int:
    """Read a port."""
    from backhaul.config.address import parse_port  # noqa: PLC0415

    try:
        return parse_port(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'"{text}": {error}') from None


class Spot(NamedTuple):
    """A port of the server, and one protocol of its users, if any is named."""

    port: int = 0
    protocol: str = ""


def spot(text: str) -> Spot:
    """Read a port with or without a protocol."""
    from backhaul.state import TCP, UDP  # noqa: PLC0415

    number, slash, protocol = text.partition("/")
    if slash and protocol not in {TCP, UDP}:
        raise argparse.ArgumentTypeError(f'"{text}": write /tcp or /udp after the port')
    return Spot(port(number), protocol)


def number(text: str) -> int:
    """Read the number of a user."""
    if not _is_number(text, 1, _MAX_ID):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number from `backhaul connections`')
    return int(text)


def seconds(text: str) -> float:
    """Read a number of seconds."""
    if not _is_number(text, 0, _MAX_ID):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number of seconds')
    return float(text)


def spare(text: str) -> object:
    """Read a spare port and its target."""
    from .doctor import parse_spare  # noqa: PLC0415

    return parse_spare(text)


def new_file(text: str) -> Path:
    """Read the name of a file to write."""
    if text in {"", "-"} or text.endswith("/"):
        raise argparse.ArgumentTypeError(f'"{text}" is not the name of a file')
    return Path(text)


def days(text: str) -> int:
    """Read a number of days."""
    if not _is_number(text, 1, _MAX_DAYS):
        raise argparse.ArgumentTypeError(f'"{text}" is not a number from 1 to {_MAX_DAYS}')
    return int(text)


def _is_number(text: str, least: int, most: int) -> bool:
    # The length check comes before int(), which raises an error of its own for thousands of digits.
    return text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most
