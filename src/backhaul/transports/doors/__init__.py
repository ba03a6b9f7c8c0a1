"""How the client gets out: the control channel, and connections to the server."""
