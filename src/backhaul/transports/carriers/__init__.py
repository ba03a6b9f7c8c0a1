"""What users travel on: connections of their own, sessions, UDP tunnels, and the pools of them."""
