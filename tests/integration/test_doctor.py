"""`hafen doctor` as people and scripts run it, and what it asks of a real etcd."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest

from deploy.client import ApiClient
from scheduler.api.doctor import Facts, diagnose
from scheduler.api.gather import Gatherer
from scheduler.world import World
from shared import keys
from shared.api import Diagnosis, Level
from shared.etcd.store import EtcdStore
from shared.model import Leader, NodeName
from shared.settings import Settings
from tests.contract.etcd_server import running_etcd
from tests.integration.api_rig import WITHIN_S, Rig, cluster
from tests.integration.test_api_tls import node_tls
from tests.integration.test_cli import hafen
from tests.loopback import own
from tests.waiting import until

# Addresses of this file only: the API's port is fixed.
NODE_1, NODE_2, NODE_3 = own(1), own(2), own(3)


async def join_three(rig: Rig) -> None:
    for name, address in (("node-1", NODE_1), ("node-2", NODE_2), ("node-3", NODE_3)):
        await rig.join(name, address)


def failures(found: Diagnosis) -> list[str]:
    return [one.what for one in found.findings if one.level is Level.FAIL]


async def test_what_is_wrong_is_said_and_the_exit_code_is_one(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, _):
        await join_three(rig)
        code, out, err = await hafen(rig, "doctor")

    assert (code, err) == (1, "")
    lines = out.splitlines()
    assert lines[0].split() == ["LEVEL", "WHERE", "WHAT", "WHAT", "TO", "DO"]
    assert any(line.startswith("fail   scheduler") and "nobody leads" in line for line in lines)


async def test_warnings_alone_are_no_failure_and_programs_read_the_records(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await join_three(rig)
        await rig.put(keys.LEADER, Leader(node=NodeName("node-1")))
        code, out, _ = await hafen(rig, "doctor", "--json")
        found = await client.doctor()

    assert (code, failures(found)) == (0, [])
    assert json.loads(out) == msgspec.to_builtins(
        {"findings": [msgspec.structs.asdict(one) for one in found.findings]}
    )


async def test_a_second_scheduler_is_one_that_shows_its_certificate(tmp_path: Path) -> None:
    folders = [tmp_path / "1", tmp_path / "2"]
    for folder in folders:
        folder.mkdir()
    tls = [node_tls(tmp_path, f"node-{n}", address) for n, address in ((1, NODE_1), (2, NODE_2))]
    async with cluster(folders[0], NODE_1, tls[0]) as (rig, client):
        await join_three(rig)
        async with AsyncExitStack() as second:
            await second.enter_async_context(cluster(folders[1], NODE_2, tls[1]))
            # A greeting may take longer than the doctor waits where the machine is busy.
            await until(lambda: is_found(client), WITHIN_S)
        assert not await is_found(client)


async def is_found(client: ApiClient) -> bool:
    """Say whether the doctor finds a second scheduler."""
    return not any("no second one answers" in one.what for one in (await client.doctor()).findings)


@pytest.mark.parametrize(("election_ms", "granted_s"), [(250, 1.0), (3000, 5.0)])
def test_a_real_etcd_tells_its_shortest_lease_and_its_metrics(
    tmp_path: Path, election_ms: int, granted_s: float
) -> None:
    more = (f"--election-timeout={election_ms}", "--heartbeat-interval=50")
    with running_etcd(1, more=more) as etcd:
        settings = Settings(
            node="node-1",
            address=NODE_1,
            subnet="198.19.1.0/24",
            pool="198.19.0.0/16",
            etcd=etcd.settings(),
            run_dir=tmp_path,
        )

        async def gather() -> Facts:
            async with EtcdStore(settings.etcd) as store:
                facts = Facts(world=World(), members=(), profile="lan")
                return await Gatherer(store, settings).complete(facts)

        facts = asyncio.run(gather())

    assert facts.granted_s == granted_s
    ((endpoint, measured),) = facts.measures.items()
    assert endpoint == settings.etcd.endpoints[0]
    assert measured.started_s is not None
    assert measured.fsync_s is not None
    assert (facts.host.node, facts.schedulers) == ("node-1", None)
    said = [one for one in failures(diagnose(facts)) if "grants no lease below" in one]
    assert bool(said) is (granted_s > facts.timing.lease_ttl_s)


async def test_an_etcd_that_is_away_is_not_judged(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await join_three(rig)
        rig.store.cut()
        found = await client.doctor()

    assert not any("grants no lease" in one.what for one in found.findings)
