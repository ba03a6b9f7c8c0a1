"""The ways in on the public end, and the decoy for visitors without the token."""
