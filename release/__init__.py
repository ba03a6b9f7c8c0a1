"""The parts of a release beside the wheel: man page, the program with Python inside, Debian's package."""
