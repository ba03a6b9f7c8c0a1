"""The table of transports, and a search for other modules that know transports by their names."""

import ast
from pathlib import Path
from typing import get_args

import pytest

import backhaul
from backhaul.wire.transports import TRANSPORTS, TransportName

SOURCE = Path(backhaul.__file__).parent
TABLE = SOURCE / "wire" / "transports.py"
NAMES = frozenset(TRANSPORTS)
PARTS = {"tcp", "ws", "wss", "mux", "udp"}
METHODS = {"startswith", "endswith", "replace", "removeprefix", "removesuffix"}


def test_the_table_has_the_transports_of_the_configuration_in_their_order() -> None:
    assert tuple(TRANSPORTS) == get_args(TransportName)


def literals(node: ast.AST) -> set[object]:
    """Return the texts of a literal, or of all literals in a collection."""
    items = node.elts if isinstance(node, ast.Tuple | ast.List | ast.Set) else [node]
    return {item.value for item in items if isinstance(item, ast.Constant)}


def asks(node: ast.AST) -> bool:
    """Return whether an expression tests or dissects the name of a transport."""
    if isinstance(node, ast.Compare):
        return any(literals(part) & NAMES for part in (node.left, *node.comparators))
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return len(literals(node) & NAMES) > 1
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        return any(literals(argument) & PARTS for argument in node.args)
    return False


@pytest.mark.parametrize(
    "code", ['x == "udp"', '"udp" in {x, y}', 'x in ("ws", "wss")', 'f({"ws", "wss"})', 'x.endswith("mux")']
)
def test_the_search_finds(code: str) -> None:
    assert any(map(asks, ast.walk(ast.parse(code))))


def test_only_the_table_knows_transports_by_their_names() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        if path != TABLE and path.parent.name != "convert"  # whose names are those of other programs
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.expr) and asks(node)
    ]
    assert not found


def test_the_port_that_urls_leave_out() -> None:
    assert {name: transport.default_port for name, transport in TRANSPORTS.items() if transport.http} == {
        "ws": 80,
        "wss": 443,
        "wsmux": 80,
        "wssmux": 443,
    }
