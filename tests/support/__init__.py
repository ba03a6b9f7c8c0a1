"""Tools of several tests: peers played by a test, decoders independent of the program, conditions to wait for."""

from pathlib import Path

import pytest

# Assertions in these modules show their values, too.
pytest.register_assert_rewrite(*(f"{__name__}.{path.stem}" for path in Path(__file__).parent.glob("[a-z]*.py")))
