"""The scenarios: which routes are started, and which loads visit them in which order."""
