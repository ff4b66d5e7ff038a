"""What a host is told of its network: refused where it cannot be meant."""

import msgspec
import pytest

from shared.settings import EtcdSettings, Settings

LEAST = Settings(
    node="node-1",
    address="198.18.0.1",
    subnet="198.19.1.0/24",
    pool="198.19.0.0/16",
    etcd=EtcdSettings(endpoints=("127.0.0.1:2379",)),
)


def with_(**said: object) -> Settings:
    tree = msgspec.to_builtins(LEAST, enc_hook=str)
    return msgspec.convert(tree | said, Settings, strict=False, dec_hook=lambda kind, v: kind(v))


def test_ports_are_told_apart_by_protocol() -> None:
    said = with_(host_ports=["9100/tcp", "161/udp", "9113/tcp"])
    assert said.open_ports == {"tcp": (9100, 9113), "udp": (161,)}
    assert not said.is_vxlan
    assert with_(network="vxlan").is_vxlan


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"network": "bridge"}, "Invalid enum value 'bridge' - at `$.network`"),
        ({"pool6": "fd00:68::/64"}, "pool6 fd00:68::/64 is no /96, such as fd00:68::/96"),
        ({"pool6": "fd00:68::1/96"}, "fd00:68::1/96 has host bits set"),
        ({"vxlan_port": 0}, "vxlan_port 0 is not from 1 to 65535"),
        ({"host_ports": ["9100"]}, "host port '9100': write it as 9100/tcp or 53/udp"),
        ({"host_ports": ["70000/tcp"]}, "host port '70000/tcp': write it as"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_to_write(
    said: dict[str, object], why: str
) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        with_(**said)
    assert why in str(refused.value)
