"""The data plane: moves bytes between two ends, and counts them."""
