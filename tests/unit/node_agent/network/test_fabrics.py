"""Several parts of a node's kernel, as one."""

from hypothesis import given
from hypothesis import strategies as st

from node_agent.network.fabric import FabricStatus, Topology
from node_agent.network.fabrics import Fabrics, together
from shared.model import AllocId, Revision, Routes, StackName

SHOP, BLOG = StackName("shop"), StackName("blog")
_acked = st.dictionaries(st.sampled_from((SHOP, BLOG)), st.integers(1, 9).map(Revision))
_status = st.builds(
    FabricStatus,
    acked=_acked,
    problems=st.lists(st.text(max_size=3)).map(tuple),
    busy=st.lists(st.sampled_from("abc").map(AllocId)).map(tuple),
)


class Part:
    """A part that is behind by some revisions."""

    def __init__(self, name: str, log: list[str], behind: int) -> None:
        self._name, self._log, self._behind = name, log, behind

    async def apply(self, topology: Topology, *, looks: bool = True) -> FabricStatus:
        self._log.append(f"{self._name} {looks}")
        routes = topology.routes.items()
        acked = {stack: Revision(revision - self._behind) for stack, (revision, _) in routes}
        return FabricStatus(acked, (f"{self._name} is behind",))


async def test_parts_are_applied_in_order_and_the_last_one_counts() -> None:
    log: list[str] = []
    fabrics = Fabrics(Part("links", log, 0), Part("maps", log, 2))
    topology = Topology(routes={SHOP: (Revision(7), Routes(stack=SHOP))})
    status = await fabrics.apply(topology, looks=False)
    assert log == ["links False", "maps False"]
    assert status == FabricStatus({SHOP: Revision(5)}, ("links is behind", "maps is behind"))


@given(st.lists(_status, min_size=1, max_size=4))
def test_a_stack_is_in_force_where_every_part_has_it(found: list[FabricStatus]) -> None:
    made = together(found)
    for stack in (SHOP, BLOG):
        had = [one.acked.get(stack) for one in found]
        least = min((one for one in had if one is not None), default=None)
        assert made.acked.get(stack) == (None if None in had else least)
    assert set(made.busy) == {id_ for one in found for id_ in one.busy}
    assert made.problems == sum((one.problems for one in found), ())
