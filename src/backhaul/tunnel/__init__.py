"""The control plane: listeners, control channel, demand, reconnect."""
