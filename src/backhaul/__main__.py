"""`python -m backhaul` is the same as `backhaul`."""

from backhaul.cli.main import run

run()
