"""The seven transports: each joins a gate and a door, which make connections, with a carrier, which serves users."""
