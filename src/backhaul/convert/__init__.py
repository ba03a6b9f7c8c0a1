"""Converters of other programs' configuration: pure functions from texts to the files of both ends."""

from .draft import ConvertError, Gap
from .recognise import Source, convert
from .render import Files

__all__ = ["ConvertError", "Files", "Gap", "Source", "convert"]
