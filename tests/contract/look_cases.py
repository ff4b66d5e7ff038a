"""Cases of separation between two looks at the kernel; each runs in namespaces of its own."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.contract.healing_cases import busy, difference, handles, picture
from tests.contract.network_rig import Node, Rig
from tests.contract.separation_cases import MODES, all_ways, talks


def a_container_that_comes_and_goes_is_whole_without_a_look(rig: Rig) -> None:
    near, *_ = busy(rig)
    here, _ = rig.nodes
    before = picture(here)
    new = rig.attach("shop.web.3.a", 1, "front")
    for node in rig.nodes:
        node.apply(rig.topology(), looks=False)
    assert talks(new, near) == all_ways(near)
    whole = picture(here)
    assert new.address in whole
    here.apply(rig.topology())
    assert not difference(whole, picture(here))
    here.does(lambda: here.network.detach(new.id))
    rig.containers.remove(new)
    for node in rig.nodes:
        node.apply(rig.topology(), looks=False)
    assert not difference(before, picture(here))
    rig.apply()
    assert not difference(before, picture(here))


def chains_that_somebody_changes_before_they_are_known_are_made_new(rig: Rig) -> None:
    busy(rig)
    here, far = rig.nodes
    old = _chains_of(here)
    rig.network("third")
    rig.attach("shop.new.1.a", 1, "third")
    here.apply(rig.topology(), looks=False)
    new = _chains_of(here) - old
    assert new
    before = picture(here)
    for chain in new:
        here.run(f"nft flush chain inet hafen {chain}")
    here.apply(rig.topology(), looks=False)
    assert not difference(before, picture(here))
    # Once they are known, what is changed elsewhere makes nothing new.
    rig.attach("shop.new.2.a", 1, "third", "back")
    for looks in (False, True):
        here.apply(rig.topology(), looks=looks)
    numbered = handles(here)
    here.run("nft add table ip other")
    here.apply(rig.topology(), looks=False)
    assert handles(here) == numbered
    here.run("nft delete table ip other")
    far.apply(rig.topology())


def _chains_of(node: Node) -> set[str]:
    lines = node.run("nft list table inet hafen").splitlines()
    return {line.split()[1] for line in lines if line.strip().startswith("chain ")}


CASES: Final[dict[str, Callable[[Rig], None]]] = {
    case.__name__: case
    for case in (
        a_container_that_comes_and_goes_is_whole_without_a_look,
        chains_that_somebody_changes_before_they_are_known_are_made_new,
    )
}


if __name__ == "__main__":
    CASES[sys.argv[1]](Rig(Path(sys.argv[3]), 2, **MODES[sys.argv[2]]))
