"""The configuration files of the compared programs, with a module for each program."""
