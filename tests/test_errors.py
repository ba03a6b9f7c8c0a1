"""The root of all errors of the program."""

import importlib
import pkgutil
from collections.abc import Iterator

import backhaul
from backhaul.errors import BackhaulError


def below(base: type[BaseException]) -> Iterator[type[BaseException]]:
    """Yield the classes that derive from ``base``, at any distance."""
    for derived in base.__subclasses__():
        yield derived
        yield from below(derived)


def test_every_error_of_the_program_has_the_same_root() -> None:
    for module in pkgutil.walk_packages(backhaul.__path__, "backhaul."):
        if module.name != "backhaul.__main__":  # importing it runs the program
            importlib.import_module(module.name)
    own = {error for error in below(BaseException) if error.__module__.partition(".")[0] == "backhaul"}
    assert len(own) > 15
    assert not {error for error in own if not issubclass(error, BackhaulError)}
