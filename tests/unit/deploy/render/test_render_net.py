"""What `hafen net` shows: compact where all is well, the hop where it is not."""

import json

from hypothesis import given
from hypothesis import strategies as st

from deploy.render import plain
from deploy.render_net import (
    MATRIX_MAX,
    cell_text,
    doctor_lines,
    dot,
    of_service,
    pair_table,
    service_net_table,
    shared_table,
    tree_lines,
)
from shared.api import (
    EntryView,
    Finding,
    Level,
    MemberView,
    NetCell,
    NetDiagnosis,
    NetView,
    ReachView,
    ServiceNetView,
)
from shared.model import AllocId, NodeName, Protocol

A, B = NodeName("node-1"), NodeName("node-2")


def cell(*lost: str, source: NodeName = A, target: NodeName = B, unknown: int = 0) -> NetCell:
    return NetCell(
        source=source, target=target, passed=0 if unknown else 9, lost=lost, unknown=unknown
    )


def test_cells() -> None:
    assert cell_text(None) == "-"
    assert cell_text(cell()) == "ok"
    assert cell_text(cell(unknown=9)) == "?"
    # Where nothing passes, what is large or for one port does not pass either.
    assert cell_text(cell("containers", "containers-mtu", "containers-tcp")) == "containers"
    assert cell_text(cell("containers", "hosts", "hosts-mtu")) == "hosts"
    assert cell_text(cell("containers-mtu", "dns")) == "containers-mtu, dns"
    assert cell_text(cell("hosts-mtu", "containers-mtu", "dns")) == "hosts-mtu, containers-mtu +1"


def test_few_nodes_are_a_matrix_and_many_only_what_fails() -> None:
    found = NetDiagnosis(
        probes=18, nodes=(A, B), cells=(cell(), cell("hosts", source=B, target=A), cell(target=A))
    )
    assert plain(pair_table(found)) == [
        "FROM    TO node-1  TO node-2",
        "node-1  ok         ok",
        "node-2  hosts      -",
    ]
    names = tuple(NodeName(f"node-{number}") for number in range(MATRIX_MAX + 1))
    many = NetDiagnosis(probes=18, nodes=names, cells=found.cells)
    assert plain(pair_table(many)) == ["FROM    TO      FAILS", "node-2  node-1  hosts"]


def test_the_end_says_how_much_was_tried() -> None:
    well = NetDiagnosis(
        probes=18,
        nodes=(A, B),
        cells=(cell(), cell(source=B, target=A)),
        skipped=("no service has a virtual address: none is tried",),
    )
    assert doctor_lines(well) == [
        "18 probes on 2 nodes, 1 pairs, both ways.",
        "Not tried: no service has a virtual address: none is tried.",
        "Nothing found that is wrong.",
    ]
    bad = Finding(level=Level.FAIL, where="node-1", what="", advice="")
    ill = NetDiagnosis(probes=1, nodes=(A,), cells=(), findings=(bad,))
    assert doctor_lines(ill) == ["1 probes on 1 node, 0 pairs, both ways."]


def member(service: str, *addresses: str, names: tuple[str, ...] = ()) -> MemberView:
    found = {AllocId(f"{service}.{slot}.a"): each for slot, each in enumerate(addresses, 1)}
    return MemberView(service=service, names=names, addresses=found)


VIEW = NetView(
    networks=(
        ReachView(
            name="shop_back",
            internal=True,
            subnet="198.19.250.0/24",
            members=(
                member("shop.db", "198.19.1.2", names=("postgres",)),
                member("shop.web", "198.19.1.3", "198.19.2.2"),
            ),
        ),
        ReachView(name="shop_front", members=(member("shop.web", "198.19.1.3", "198.19.2.2"),)),
        ReachView(name="x_default", members=(member("x.one"),)),
    ),
    services=(
        ServiceNetView(service="shop.db", networks=("shop_back",), vip="198.19.255.1"),
        ServiceNetView(service="shop.host", mode="host"),
        ServiceNetView(
            service="shop.web",
            networks=("shop_back", "shop_front"),
            endpoints={AllocId("shop.web.1.a"): "198.19.1.3"},
        ),
        ServiceNetView(service="x.one", networks=("x_default",)),
    ),
    entries=(
        EntryView(service="shop.web", published=8080, target=80, protocol=Protocol.HTTP),
        EntryView(service="shop.db", published=9, target=9, protocol=Protocol.UDP, is_host=True),
    ),
)


def test_the_tree() -> None:
    assert tree_lines(VIEW) == [
        "Networks",
        "├─ shop_back (internal: no way out, 198.19.250.0/24)",
        "│  ├─ shop.db   198.19.1.2  also postgres",
        "│  └─ shop.web  198.19.1.3, 198.19.2.2",
        "├─ shop_front",
        "│  └─ shop.web  198.19.1.3, 198.19.2.2",
        "└─ x_default",
        "   └─ x.one  runs nowhere",
        "",
        "Ways in",
        "├─ 8080/http on every node -> shop.web at 80",
        "└─ 9/udp on nodes with a replica -> shop.db at 9",
    ]
    assert tree_lines(NetView()) == ["Networks", "- none", "", "Ways in", "- none"]


def test_services_and_who_shares_a_network() -> None:
    assert plain(service_net_table(VIEW.services)) == [
        "SERVICE    VIRTUAL ADDRESS  READY  NETWORKS",
        "shop.db    198.19.255.1         0  shop_back",
        "shop.host  -                    0  the node's own (host)",
        "shop.web   -                    1  shop_back, shop_front",
        "x.one      -                    0  x_default",
    ]
    assert plain(shared_table(VIEW)) == [
        "           shop.db    shop.host  shop.web   x.one",
        "shop.db    .          -          shop_back  -",
        "shop.host  -          .          -          -",
        "shop.web   shop_back  -          .          -",
        "x.one      -          -          -          .",
    ]


def test_one_service_is_shown_with_whom_it_meets() -> None:
    shown = of_service(VIEW, "db")
    assert [one.name for one in shown.networks] == ["shop_back"]
    assert [one.service for one in shown.services] == ["shop.db", "shop.web"]
    assert [one.published for one in shown.entries] == [9]
    assert of_service(VIEW, "shop.db") == shown
    assert of_service(VIEW, "nobody") == NetView()
    assert [one.service for one in of_service(VIEW, "host").services] == ["shop.host"]


@given(st.text(max_size=20))
def test_a_graph_holds_any_name(name: str) -> None:
    view = NetView(
        networks=(ReachView(name=name, members=(MemberView(service=name),)),),
        services=(ServiceNetView(service=name),),
    )
    lines = dot(view).split("\n")
    assert (lines[0], lines[-1]) == ("graph hafen {", "}")
    quoted = json.dumps(f"net:{name}", ensure_ascii=False)
    assert any(line.startswith(f"  {quoted} -- ") for line in lines)
    assert all(line.endswith((";", "{", "}")) for line in lines)
