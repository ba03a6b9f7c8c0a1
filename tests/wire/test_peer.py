"""The abilities of the other end."""

import pytest
from tests.support.peers import EXTENDED

from backhaul.wire.peer import V072, Feature, Peer, common_features


@pytest.mark.parametrize("feature", Feature)
def test_v072_has_no_feature_and_this_program_all(feature: Feature) -> None:
    assert not V072.supports(feature)
    assert EXTENDED.supports(feature)


def test_one_feature_does_not_bring_the_others() -> None:
    peer = Peer(features=frozenset({Feature.RESET}))
    assert peer.extended
    assert [feature for feature in Feature if peer.supports(feature)] == [Feature.RESET]


def test_the_common_features_are_those_that_both_ends_know() -> None:
    later = max(Feature) + 1
    assert common_features([Feature.RESET, 0, later, Feature.PINGS, Feature.RESET]) == {Feature.RESET, Feature.PINGS}
    assert common_features(range(1, later)) == EXTENDED.features
    assert not common_features([])


def test_numbers_of_features_are_never_used_again() -> None:
    assert [(feature.name, feature.value) for feature in Feature] == [
        ("HALF_CLOSE", 1),
        ("RESET", 2),
        ("DATAGRAMS", 3),
        ("LARGE_MESSAGES", 4),
        ("WHOLE_FRAMES", 5),
        ("WHOLE_WINDOW", 6),
        ("PINGS", 7),
        ("SURPLUS", 8),
        ("RESUME", 9),
    ]


def test_a_peer_is_called_by_its_name_and_its_address() -> None:
    assert str(Peer("192.0.2.1")) == "192.0.2.1"
    assert str(Peer("192.0.2.1", "berlin")) == "berlin at 192.0.2.1"
