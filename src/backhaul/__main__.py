"""The command ``python -m backhaul``, which is the same as ``backhaul``."""

from backhaul.cli.main import run

run()
