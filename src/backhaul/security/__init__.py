"""The cryptography of the tunnel, without input or output: randomness and clocks are arguments."""
