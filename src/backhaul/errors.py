"""The root of every error this program raises on purpose."""


class BackhaulError(Exception):
    """Something the program foresaw; its text is meant for the administrator.

    Whatever else escapes is a defect of the program.
    """


class TransportError(BackhaulError):
    """The other end of the tunnel refused, or said something that is not the protocol."""
