"""Changes as people type them: a process of its own, a real server, a leader played by us."""

import json
import signal
from pathlib import Path

import msgspec
import pytest

from deploy.client import ApiClient
from shared import keys
from shared.api import StackUpload
from shared.errors import ConvergenceError, RolledBackError, StoreError
from shared.model import Event, Joined, Network, Rollout, RolloutPhase, ServiceName, ServiceSpec
from shared.settings import SecretsSettings
from shared.store import under
from tests.build import MIB, service
from tests.integration.api_rig import SHOP, WITHIN_S, Rig, cluster, upload
from tests.integration.test_cli import COMPOSE, hafen, start
from tests.waiting import until

WEB = ServiceName("web")


def rollout(phase: RolloutPhase, spec: ServiceSpec, reason: str = "") -> Rollout:
    return Rollout(
        stack=SHOP,
        service=WEB,
        generation=1,
        phase=phase,
        target=spec,
        stable=service(),
        is_back=phase is RolloutPhase.ROLLED_BACK,
        reason=reason,
    )


async def comes_to(rig: Rig, client: ApiClient, phase: RolloutPhase, reason: str = "") -> None:
    """Play a leader whose update of shop.web comes to this."""
    stack = await client.generation(SHOP, (await client.history(SHOP)).generations[0].generation)
    found = rollout(phase, stack.services[0], reason)
    newest = msgspec.structs.replace(found, generation=stack.generation)
    await rig.put(keys.rollout(SHOP, WEB), newest)


async def test_a_plan_shows_what_a_deploy_would_do_and_its_code_says_whether(
    tmp_path: Path,
) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        code, out, err = await hafen(rig, "plan")
        shown = json.loads((await hafen(rig, "plan", "--json"))[1])
        nothing_stored = (await client.status()).stacks
        done = await hafen(rig, "deploy", "--detach", "--plan-id", shown["plan_id"])
        stored = await client.generation(SHOP, 1)
        await rig.run_replica("node-1", service())
        await comes_to(rig, client, RolloutPhase.DONE)
        again = await hafen(rig, "plan")

    assert (code, err, nothing_stored) == (1, "", 0)
    assert out == (
        "shop (not deployed yet)\n+ web: create\n    + image: app:1\n"
        "    + networks: shop_default\n+ networks.shop_default: with a way out\n\n"
        "Where the replicas go:\n  web 1: start on node-1\n\n"
        f"To do exactly this: hafen deploy --plan-id {shown['plan_id']}\n"
    )
    assert done == (0, "shop: generation 1 is stored\n", "")
    assert again[0] == 0, again
    assert stored.networks == (Network(name="shop_default"),)
    assert stored.services[0].workload.networks == (Joined(network="shop_default"),)


async def test_what_has_no_place_is_refused_before_it_is_stored(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(
        COMPOSE + "    deploy: {resources: {reservations: {memory: 1G}}}\n"
    )
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        planned = await hafen(rig, "plan")
        code, out, err = await hafen(rig, "deploy")
        stored = (await client.status()).stacks
        forced = await hafen(rig, "deploy", "--no-plan", "--detach")

    assert planned[0] == 2
    assert (code, out, stored) == (ConvergenceError.exit_code, "", 0)
    assert "web 1: no node fits: node-1: memory: needs 1024 MiB, has 0 MiB free" in err
    assert forced[0] == 0


async def test_what_only_the_cluster_can_refuse_is_said_with_file_line_and_path(
    tmp_path: Path,
) -> None:
    taken = "networks:\n  back:\n    ipam: {config: [{subnet: 172.20.0.0/24}]}\n"
    (tmp_path / "compose.yaml").write_text(COMPOSE + "    networks: [back]\n" + taken)
    line = COMPOSE.count("\n") + 3
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        await hafen(rig, "network", "create", "other", "--subnet", "172.20.0.0/16")
        found = [await hafen(rig, *words) for words in (("plan",), ("deploy", "--detach"))]
        stored = (await client.status()).stacks

    for code, out, err in found:
        assert (code, out, stored) == (2, "", 0)
        assert f"compose.yaml:{line}: networks.back: network shop_back: subnet 172.20.0.0/24" in err


async def test_a_file_s_secrets_are_sent_along(tmp_path: Path) -> None:
    (tmp_path / "secrets.key").write_bytes(bytes(32))
    (tmp_path / "secrets.key").chmod(0o600)
    (tmp_path / "password.txt").write_text("hunter2")
    (tmp_path / "compose.yaml").write_text(
        COMPOSE + "    secrets: [password]\nsecrets: {password: {file: ./password.txt}}\n"
    )
    secrets = SecretsSettings(key=tmp_path / "secrets.key")
    async with cluster(tmp_path, secrets=secrets) as (rig, _):
        code, _, err = await hafen(rig, "deploy", "--detach", "--no-plan")
        (content,) = (await rig.other.list(under(keys.CONTENTS))).items

    assert code == 0, err
    assert content.key.startswith(f"{keys.CONTENTS}shop/password/")


async def test_a_plan_that_does_not_hold_any_more_is_refused_with_what_would_happen(
    tmp_path: Path,
) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        seen = await client.plan(SHOP, upload())
        await client.deploy(SHOP, upload(service(image="app:0")))
        code, _, err = await hafen(rig, "deploy", "--plan-id", seen.plan_id)

    assert code == StoreError.exit_code
    assert f"plan {seen.plan_id} does not hold any more, and nothing was stored: stack shop" in err
    assert "web 1: start on node-1" in err


@pytest.mark.parametrize(
    ("phase", "code", "sentence"),
    [
        (RolloutPhase.DONE, 0, "shop: 1 of 1 replicas ready on 1 node"),
        (
            RolloutPhase.CANARY,
            0,
            "web: the canary is well and waits: `hafen promote shop.web` goes on",
        ),
        (RolloutPhase.ROLLED_BACK, RolledBackError.exit_code, "web: it crashed"),
        (RolloutPhase.FAILED, ConvergenceError.exit_code, "web: it crashed"),
        (RolloutPhase.PAUSED, ConvergenceError.exit_code, "shop stopped half-way"),
    ],
)
async def test_the_exit_code_of_a_deploy_tells_how_its_update_ended(
    tmp_path: Path, phase: RolloutPhase, code: int, sentence: str
) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        process = await start(rig, "deploy")
        assert process.stderr is not None
        await process.stderr.readline()
        # As a leader does: what has no update yet would be done once its replicas are ready.
        await comes_to(rig, client, RolloutPhase.ROLLING)
        await rig.run_replica("node-1", service(), is_routed=True)
        await comes_to(rig, client, phase, "" if phase is RolloutPhase.DONE else "it crashed")
        out, err = await process.communicate()

    assert process.returncode == code, err
    assert sentence in (out + err).decode()


async def test_a_deploy_that_is_changed_before_it_came_true_says_so(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        process = await start(rig, "deploy")
        assert process.stderr is not None
        await process.stderr.readline()
        await client.deploy(SHOP, upload(service(image="app:2")))
        _, err = await process.communicate()

    assert process.returncode == StoreError.exit_code
    assert "shop was changed again before generation 1 had come true: it is at generation 2" in (
        err.decode()
    )


async def test_interrupting_a_deploy_says_that_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        process = await start(rig, "deploy")
        assert process.stderr is not None
        await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = await process.communicate()
        stored = (await client.status()).stacks

    assert (process.returncode, stored) == (130, 1)
    assert "the change goes on without this command; `hafen watch shop` shows it again" in (
        err.decode()
    )


async def test_changes_are_typed_by_service_and_told_in_the_history(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, StackUpload(services=(service(),), source="first"))
        for words in (
            ["scale", "web=3"],
            ["restart", "shop.web"],
            ["stop", "shop"],
            ["start", "web"],
            ["rollback", "shop", "--to", "1"],
        ):
            assert (await hafen(rig, *words, "--detach"))[0] == 0
        _, shown, _ = await hafen(rig, "history", "shop")
        source = await hafen(rig, "history", "shop", "--show", "1")
        wrong = await hafen(rig, "scale", "shop=3")

    commands = ("rollback to generation 1", "start web", "stop", "restart web", "scale web=3")
    rows = shown.splitlines()[1:]
    assert [word in row for word, row in zip((*commands, "deploy"), rows, strict=True)] == [
        True
    ] * 6
    assert source == (0, "first\n", "")
    assert (wrong[0], "STACK.SERVICE=COUNT" in wrong[2]) == (2, True)


async def test_a_canary_is_promoted_and_waited_for(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload())
        await rig.join("node-1")
        await rig.run_replica("node-1", service())
        await comes_to(rig, client, RolloutPhase.CANARY)
        process = await start(rig, "promote", "web")
        await until_ruled(client)
        waits = process.returncode
        heard = msgspec.structs.replace(rollout(RolloutPhase.DONE, service()), ruled=1)
        await rig.put(keys.rollout(SHOP, WEB), heard)
        out, err = await process.communicate()
        again = await hafen(rig, "promote", "web")

    assert (waits, process.returncode) == (None, 0), err
    assert out.decode() == "shop: 1 of 1 replicas ready on 1 node\n"
    assert again[0] == 2
    assert "that of generation 1 is done, not canary or paused" in again[2]


async def until_ruled(client: ApiClient) -> None:
    async def is_ruled() -> bool:
        return bool((await client.generation(SHOP, 1)).rulings)

    await until(is_ruled, WITHIN_S)


async def test_why_says_what_a_service_and_an_allocation_wait_for(tmp_path: Path) -> None:
    big = service(memory_bytes=64 * MIB, replicas=2)
    async with cluster(tmp_path) as (rig, client):
        await rig.join("node-1")
        await client.deploy(SHOP, upload(big))
        await rig.run_replica("node-1", big)
        event = Event(kind="placed", subject="shop.web.1", reason="its slot is empty", at_s=1.0)
        await rig.put(keys.event("1"), event)
        of_service = await client.why(service="web")
        of_allocation = await client.why(allocation="shop.web.1.a")
        of_slot = await hafen(rig, "why", "shop.web.1")
        shown = await hafen(rig, "why", "web")
        stack = await hafen(rig, "why", "shop")
        none = await hafen(rig, "why", "nosuch")

    facts = [(one.about, one.sentence) for one in of_service.facts]
    assert facts[0] == ("asked", "1 of 2 are ready as asked for now (replicated)")
    assert ("event", "placed shop.web.1: its slot is empty") in facts
    assert any(about == "waits" and "memory: needs 64 MiB" in sentence for about, sentence in facts)
    assert [one.about for one in of_allocation.facts][:3] == ["placed", "node", "state"]
    assert of_slot[1].startswith("allocation shop.web.1.a\n")
    assert shown[1].startswith("service shop.web\n  asked   1 of 2")
    assert (stack[0], "say which service of it: shop.web" in stack[2]) == (2, True)
    assert none[0] == 3


async def test_a_one_off_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (rig, client):
        await client.deploy(SHOP, upload())
        code, _, err = await hafen(rig, "run", "shop.web", "--", "ls", "-l")
        await until(
            lambda: sum(key.startswith(keys.STACKS) for key in rig.view.items) == 1, WITHIN_S
        )

    assert code == ConvergenceError.exit_code
    assert "web-run 1: no node is ready" in err
