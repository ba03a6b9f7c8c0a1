"""The abilities of the other end."""

import pytest

from backhaul.wire.peer import EXTENDED, V072, Feature, Peer


@pytest.mark.parametrize("feature", Feature)
def test_v072_has_no_feature_and_this_program_all(feature: Feature) -> None:
    assert not V072.supports(feature)
    assert EXTENDED.supports(feature)


def test_a_peer_that_shows_extensions_stays_the_same_peer() -> None:
    peer = Peer("192.0.2.1", "berlin")
    extended = peer.with_extensions()
    assert (peer.extended, extended.extended) == (False, True)
    assert (extended.address, extended.name) == ("192.0.2.1", "berlin")


def test_one_feature_does_not_bring_the_others() -> None:
    peer = Peer(features=frozenset({Feature.RESET}))
    assert peer.extended
    assert [feature for feature in Feature if peer.supports(feature)] == [Feature.RESET]
