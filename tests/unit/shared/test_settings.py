"""What one host's settings must agree on with each other."""

from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.settings import load
from shared.subnets import Pools

BASE = """
node = "node-1"
address = "198.18.0.1"
subnet = "198.19.1.0/24"
pool = "198.19.0.0/16"
etcd = {endpoints = ["198.18.0.1:2379"]}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "hafen.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_virtual_addresses_are_from_a_network_of_their_own_or_there_are_none(
    tmp_path: Path,
) -> None:
    assert load(written(tmp_path, BASE)).pools == Pools(pool="198.19.0.0/16")
    with_vips = load(written(tmp_path, 'vips = "198.18.128.0/17"' + BASE))
    assert with_vips.pools == Pools(pool="198.19.0.0/16", vips="198.18.128.0/17")
    with_six = load(written(tmp_path, 'pool6 = "fd00:68::/96"' + BASE))
    assert with_six.pools == Pools(pool="198.19.0.0/16", pool6="fd00:68::/96")


@pytest.mark.parametrize(
    ("vips", "said"),
    [
        ("198.19.128.0/17", r"vips 198.19.128.0/17 overlaps pool 198.19.0.0/16"),
        ("198.18.0.0/17", r"vips 198.18.0.0/17 holds address 198.18.0.1 of this host"),
        ("198.18.128.0/30", r"vips 198.18.128.0/30 has too few addresses: /29 at most"),
        ("198.18.128.1/17", "has host bits set"),
    ],
)
def test_virtual_addresses_that_clash_are_refused_with_both_networks(
    tmp_path: Path, vips: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        load(written(tmp_path, f'vips = "{vips}"' + BASE))
