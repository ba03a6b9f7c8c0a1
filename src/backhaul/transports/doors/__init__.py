"""The doors on the client: the control channel, and connections to the server."""
