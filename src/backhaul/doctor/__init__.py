"""The diagnosis of one end: checks of its file, this machine, and the way to the other end."""
