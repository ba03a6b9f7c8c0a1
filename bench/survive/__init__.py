"""Users of a tunnel whose line is reset, silenced and moved, in network namespaces of its own."""
