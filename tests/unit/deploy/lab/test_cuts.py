"""One-way cuts and programs: what is forgotten, what is said, which process is meant."""

from hypothesis import given
from hypothesis import strategies as st

from deploy.lab.cuts import Pair, SetOf, forgetting, words
from deploy.lab.programs import Program, is_program

PORTS = ("p1", "p2", "p12")
port = st.sampled_from(PORTS)
pairs = st.lists(st.tuples(port, port).map(Pair), unique=True)
ends = st.lists(port, unique=True)


@given(port, pairs, ends, ends)
def test_healing_a_host_forgets_exactly_what_names_its_port(
    healed: str, both: list[Pair], deaf: list[str], mute: list[str]
) -> None:
    found = [
        SetOf("pairs", tuple(both)),
        SetOf("in", tuple(deaf)),
        SetOf("out", tuple(mute)),
    ]

    lines = forgetting(healed, found).splitlines()

    expected = [
        f"delete element bridge hafen_lab pairs {{ {one} . {other} }}"
        for one, other in (pair.concat for pair in both)
        if healed in {one, other}
    ]
    expected += [
        f"delete element bridge hafen_lab {name} {{ {healed} }}"
        for name, members in (("in", deaf), ("out", mute))
        if healed in members
    ]
    assert lines == expected


def test_a_cut_is_told_by_who_does_not_hear() -> None:
    found = [SetOf("pairs", (Pair(("p2", "p1")),)), SetOf("in", ("p12",)), SetOf("out", ("p2",))]
    names = {"p1": "node-1", "p2": "node-2", "p12": "node-12"}

    assert words("p1", names, found) == ("nothing from node-2",)
    assert words("p2", names, found) == ("nothing out",)
    assert words("p12", names, found) == ("nothing in",)


def test_a_program_is_told_from_those_that_only_carry_its_name() -> None:
    agent = ("/usr/bin/python3", "-m", "node_agent", "--config", "x")
    supervisor = ("/usr/bin/python3", "-m", "deploy.host", "--config", "x")
    respawner = ("/usr/bin/python3", "-I", "-S", "respawn.py", "--", *supervisor)

    assert is_program(agent, Program.AGENT)
    assert is_program(supervisor, Program.RUN)
    assert is_program(("/usr/bin/etcd", "--name=a"), Program.ETCD)
    assert is_program(("etcd",), Program.ETCD)
    assert not is_program(agent, Program.SCHEDULER)
    assert not is_program(respawner, Program.RUN)
    assert not is_program(("nice", "-n", "-10", "etcd"), Program.ETCD)
    assert not is_program(("",), Program.AGENT)
