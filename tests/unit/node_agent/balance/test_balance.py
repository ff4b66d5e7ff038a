"""What a node says when its kernel cannot be told anything."""

from pathlib import Path

import pytest

from node_agent.balance.balance import balances
from node_agent.network.fabric import Topology
from node_agent.nftables import Nftables
from shared.model import Revision, Routes, ServiceName, ServiceRoutes, StackName
from tests.contract.balance_node import settings

SHOP = StackName("shop")
TOPOLOGY = Topology(routes={SHOP: (Revision(1), Routes(stack=SHOP))})


async def test_without_nft_nothing_is_in_force_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    balance, *_ = balances(settings("node-1"), Nftables())
    status = await balance.apply(TOPOLOGY)
    assert status.acked == {}
    (problem,) = status.problems
    assert problem.startswith("nft cannot be started: ")


async def test_what_was_in_force_stays_so_while_nft_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    balance, *_ = balances(settings("node-1"), Nftables())
    # It lists nothing, and takes every script.
    _program(tmp_path, '[ "$1" = -f ] || { echo "No such file or directory" >&2; exit 1; }')
    assert (await balance.apply(TOPOLOGY)).acked == {SHOP: 1}
    _program(tmp_path, "echo 'Error: out of memory' >&2; exit 1")
    web = ServiceRoutes(service=ServiceName("web"), ports=(), vip="198.18.200.1")
    later = Topology(routes={SHOP: (Revision(2), Routes(stack=SHOP, services=(web,)))})
    status = await balance.apply(later)
    assert status.acked == {SHOP: 1}
    assert status.problems == (
        "nft refused the rules of table hafen_services: Error: out of memory",
    )
    status = await balance.apply(later)
    assert status.acked == {SHOP: 1}
    assert status.problems == ("nft does not list table hafen_services: Error: out of memory",)


def _program(folder: Path, text: str) -> None:
    path = folder / "nft"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
