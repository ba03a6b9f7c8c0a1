"""Kernel settings, limits, logging, certificates and the service manager."""
