"""Sockets and the kernel: what is ready, options, listening, connecting, names, TLS, datagrams."""
