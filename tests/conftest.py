"""Settings and fixtures for all tests."""

from hypothesis import settings

# A busy machine may be slow at any single example: how long one takes is not what is tested.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
