"""The monitor, for people and programs: web page, JSON, Prometheus, usage log.

The monitor takes no part in moving users' bytes. It asks for a ``Status`` on request, and once a second
for the graph. ``service.start`` is the entry point, imported only if a page or a usage log is configured.
"""
