"""The machine around the program: tuning, limits, logging, service manager."""
