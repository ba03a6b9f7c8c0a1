"""Sockets and the kernel: poller, options, listening, connecting, names, TLS, datagrams."""
