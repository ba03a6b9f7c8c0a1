"""Texts for Hypothesis."""

from hypothesis import strategies as st

# The characters of ``st.text()``. That encodes and decodes each one first, which takes 2 seconds in every process.
CHARACTERS = st.characters(exclude_categories=["Cs"])
