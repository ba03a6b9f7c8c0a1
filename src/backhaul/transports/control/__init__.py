"""Control channels, with signals as bytes or as WebSocket messages."""
