"""The gates of the public end, and the decoy for visitors without the token."""
