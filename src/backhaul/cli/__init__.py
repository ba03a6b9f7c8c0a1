"""The command line: commands and their arguments."""
