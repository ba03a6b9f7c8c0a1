"""The wire protocol without input or output: bytes in, events out; clock and randomness are passed in."""
