"""Where in the files stands what the cluster says something of."""

from hypothesis import given
from hypothesis import strategies as st

from deploy.compose.places import located, places
from shared.model import StackName
from tests.unit.deploy.compose.given import understood

SHOP = StackName("shop")
WORD = st.from_regex(r"[a-z]{1,8}", fullmatch=True)


def test_services_and_networks_are_found_by_what_the_cluster_calls_them() -> None:
    found = understood(
        """
        services:
          web:
            image: app:1
            networks: [back, shared]
        networks:
          back: {internal: true}
          shared:
            name: common
        """
    )
    known = places(found.tree, SHOP)
    assert known == {
        "service web": "compose.yaml:3: services.web",
        "network shop_back": "compose.yaml:7: networks.back",
        "network common": "compose.yaml:8: networks.shared",
    }


def test_each_sentence_has_the_place_of_what_it_begins_with() -> None:
    known = {"service web": "a:3: services.web", "network n": "a:9: networks.n"}
    said = "service web: no\nnetwork n is there twice\nservice other: no\nand 4 more"
    assert located(said, known) == (
        "a:3: services.web: service web: no\n"
        "a:9: networks.n: network n is there twice\nservice other: no\nand 4 more"
    )


@given(
    st.lists(st.lists(WORD, min_size=1, max_size=4).map(" ".join), max_size=4),
    st.sets(WORD, max_size=3),
)
def test_no_word_of_what_was_said_is_lost(lines: list[str], names: set[str]) -> None:
    known = {f"service {name}": f"file:1: services.{name}" for name in names}
    found = located("\n".join(lines), known).splitlines()
    assert all(after.endswith(before) for after, before in zip(found, lines, strict=True))
