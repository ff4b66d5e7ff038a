"""What `hafen config` shows of networks is read again as the same."""

from hypothesis import given
from hypothesis import strategies as st

from deploy.compose import canonical, write
from shared.errors import SpecError
from tests.unit.deploy.compose.given import understood

NAMES = ["a", "b", "c"]
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "networks": st.one_of(
            st.lists(st.sampled_from(["front", "back", "default", "given"]), unique=True).map(
                lambda found: f"[{', '.join(found)}]"
            ),
            st.sampled_from(
                ["{front: {aliases: [x, a]}, back: }", "{default: {aliases: [b.c]}}", "{}", ""]
            ),
        ),
        "network_mode": st.sampled_from(["bridge", "host", "none"]),
        "container_name": st.sampled_from(["x", "a", "Y.z"]),
        "links": st.sampled_from(["[a]", "['a:b']", "['b:one', c]"]),
        "ports": st.sampled_from(
            ["['53:53', '53:53/udp']", "[{target: 1, published: 81, mode: host, protocol: udp}]"]
        ),
        "deploy": st.sampled_from(["{replicas: 2}", "{endpoint_mode: dnsrr}", "{mode: global}"]),
        "x-hafen": st.just("{affinity: address}"),
    },
)
TOPS = st.sampled_from(
    [
        "{front: , back: {internal: true}, given: {external: true}}",
        "{front: {name: one}, back: , default: {internal: true}, given: {external: {name: x}}}",
        "{front: , back: {name: shop_default}, given: {external: {name: x}, name: x}}",
    ]
)


@given(st.dictionaries(st.sampled_from(NAMES), PARTS, min_size=1), TOPS)
def test_what_is_shown_in_long_form_says_the_same(
    drawn: dict[str, dict[str, str]], top: str
) -> None:
    lines = ["services:"]
    for name, parts in drawn.items():
        lines.append(f"  {name}:\n    image: {name}")
        lines += [f"    {key}: {value}" for key, value in parts.items()]
    text = "\n".join([*lines, f"networks: {top}", ""])
    try:
        found = understood(text)
    except SpecError:
        return  # only what is not refused is of interest
    shown = write.yaml(canonical.model(found.tree, found.name, found.decoded, frozenset()))
    assert understood(shown).decoded == found.decoded
    for spec in found.decoded.services:
        work = spec.workload
        # Exactly one of the two says where a service is.
        assert bool(work.networks) != bool(work.network_mode)
        assert len({one.network for one in work.networks}) == len(work.networks)
        assert all(spec.name not in one.aliases for one in work.networks)
    used = {one.network for spec in found.decoded.services for one in spec.workload.networks}
    assert {one.name for one in found.decoded.networks} == used - {"given", "x"} - (
        {"shop_given"} - used
    )
