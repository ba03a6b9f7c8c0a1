"""The control channel, whatever the form of its signals."""
