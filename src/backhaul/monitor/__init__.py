"""What the tunnel does, for people and for programs: web page, JSON, Prometheus, usage log.

Nothing here touches a byte of a user, or is called while one is moved: the monitor asks for a ``Status``
when somebody asks the monitor, and once a second for the graph. ``service.start`` is the way in; it is imported
only where a page or a usage log is wanted.
"""
