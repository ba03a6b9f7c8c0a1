"""What keeps the tunnel secret, without input or output: randomness and clocks are arguments."""
