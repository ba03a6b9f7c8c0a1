"""The front door: commands and their arguments; no logic of its own."""
