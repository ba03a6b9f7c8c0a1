"""The seven transports: each composes a gate (how connections come in) with a carrier (how users ride)."""
