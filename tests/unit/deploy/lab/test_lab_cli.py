"""What `hafen lab` reads and prints."""

import msgspec
import pytest

from deploy.cli.lab import parse_labels, table
from deploy.cli.lab_faults import cut
from deploy.lab.lab import HostStatus, LabStatus
from shared.errors import SpecError


def test_labels_are_gathered_by_host() -> None:
    texts = ["node-1:zone=a", "node-1:disk=", "node-2:zone=b=c"]

    assert parse_labels(texts) == {"node-1": {"zone": "a", "disk": ""}, "node-2": {"zone": "b=c"}}


@pytest.mark.parametrize("text", ["zone=a", "node-1:zone", ":zone=a", "node-1:=a", ""])
def test_a_label_in_another_form_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SpecError, match="write NODE:KEY=VALUE, as in node-1:zone=a"):
        parse_labels([text])


@pytest.mark.parametrize(
    "words", [("--in", "--out"), ("--in", "--from", "node-2"), ("--out", "--from", "node-2")]
)
def test_a_cut_goes_one_way_or_both_but_not_two_ways_at_once(words: tuple[str, ...]) -> None:
    with pytest.raises(SpecError, match="choose one of --in, --out and --from"):
        cut.main(["node-1", *words], standalone_mode=False)


def test_hosts_are_shown_in_columns() -> None:
    host = HostStatus(
        name="node-1",
        address="198.18.0.1",
        state="off",
        api="unix:/x",
        console="/c",
        member=True,
        labels={},
    )

    assert table(LabStatus(name="lab", hosts=(host,))).splitlines() == [
        "HOST    STATE  ADDRESS     ETCD    API",
        "node-1  off    198.18.0.1  member  unix:/x",
    ]
    deaf = msgspec.structs.replace(host, state="up", cuts=("nothing in",))
    assert table(LabStatus(name="lab", hosts=(deaf,))).splitlines()[1] == (
        "node-1  up, nothing in  198.18.0.1  member  unix:/x"
    )
