"""The carriers of users: dedicated connections, sessions, UDP tunnels, and the pools of them."""
