"""The support archive: what a colleague needs to understand an end, without its secrets."""
