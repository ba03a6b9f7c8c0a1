"""Numbers and tables in Markdown."""

NOTHING = "-"


def grouped(value: float) -> str:
    """Write a whole number with its thousands apart."""
    return f"{value:,.0f}".replace(",", " ")


def number(value: float | None) -> str:
    """Write a value with three significant digits, None as a dash."""
    if value is None:
        return NOTHING
    if abs(value) >= 1000:
        return grouped(value)
    return f"{value:.3g}"


def times(ratio: float | None) -> str:
    """Write a ratio with two decimals, None as a dash."""
    return NOTHING if ratio is None else f"{ratio:.2f}x"


def row(cells: list[str]) -> str:
    """Write one row of a table."""
    return f"| {' | '.join(cells)} |"


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """Write a table as lines; all columns but the first hold numbers."""
    return [row(head), row(["---", *["--:"] * (len(head) - 1)]), *map(row, rows)]
