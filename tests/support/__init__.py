"""What several tests share: peers made by hand, decoders independent of the program, things to wait for."""

from pathlib import Path

import pytest

# So that assertions made in these modules show their values, too.
pytest.register_assert_rewrite(*(f"{__name__}.{path.stem}" for path in Path(__file__).parent.glob("[a-z]*.py")))
