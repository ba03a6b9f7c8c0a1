"""The control plane: ports, waiting users, heartbeat, pool, reconnects, targets."""
