"""The configuration files of the programs that are compared, each program's in a module of its own."""
