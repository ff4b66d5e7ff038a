"""`python -m tests.chaos.net`: deletes what carries traffic, by hand, one thing after the other.

Under load from outside (a floating address, a published port, an HTTP route) and from a container
that asks for the service by its name. All must be back as it was within LIMIT_S, and requests may
fail only while a thing that carries them is missing. Writes bench/out/chaos-net.json; exits with 1
if that does not hold.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final, get_args

import msgspec

from bench.rig import STACK, Load, Rig, rig, sending
from deploy.client import ApiClient
from deploy.compose import load as load_compose
from deploy.lab.address import give_address
from deploy.lab.images import build_whoami
from deploy.lab.plan import floating_address
from shared.model import NodeName
from shared.settings import NetworkMode
from tests.chaos.net_draw import Deletion, draw
from tests.chaos.net_judge import Deleted, Verdict, failures, judge, table
from tests.chaos.net_lab import as_asker, delete, settled
from tests.chaos.net_things import INSIDE, OUTSIDE, kinds_of

NAME: Final = "chaos-net"
OUT: Final = Path(__file__).parents[2] / "bench" / "out" / "chaos-net.json"
FILE: Final = """
services:
  web:
    image: hafen.local/whoami:1
    stop_grace_period: 1s
    deploy: {replicas: 3}
    ports:
      - {target: 80, published: 8080, app_protocol: http}
    x-hafen:
      routes: [web.example.org]
  asker:
    image: hafen.local/whoami:1
    stop_grace_period: 1s
"""
# Together a quarter of a core, on a machine with two.
_OUTSIDE: Final = (
    *("--url", "port=http://web.example.org:8080/", "--url", "route=http://web.example.org/"),
    *("--connect", floating_address(), "--rate", "40", "--fresh-every", "2"),
)
_INSIDE: Final = ("--url", "name=http://web/", "--rate", "20", "--fresh-every", "2")
# What waits at the end is answered, or fails by itself.
_LAST_S: Final = 1.0


async def deploy(rig_: Rig) -> None:
    """Deploy the Compose file, and give the floating address to the last host."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "compose.yaml"
        file.write_text(FILE)
        stack = load_compose([file], {}, STACK)
    await rig_.deploy(stack.services, stack.networks)
    async with ApiClient.unix(rig_.lab.api_socket((await rig_.on())[0])) as client:
        await give_address(client, NodeName(rig_.lab.nodes[-1]))
    await settled(rig_)


async def delete_all(
    rig_: Rig, plan: Iterator[Deletion], is_enough: Callable[[int], bool]
) -> list[Deleted]:
    """Delete what was drawn, until `is_enough` says so of how many there were."""
    done = list[Deleted]()
    for drawn in takewhile(lambda _: not is_enough(len(done)), plan):
        await asyncio.sleep(drawn.pause_s)
        done.append(await delete(rig_, drawn))
        _say(done[-1].line())
    await asyncio.sleep(_LAST_S)
    return done


async def chaos(
    seed: int,
    nodes: int,
    is_enough: Callable[[int], bool],
    *,
    name: str = NAME,
    network: NetworkMode = "routed",
) -> Verdict:
    """Bring a lab up, delete under load, judge."""
    async with rig(nodes, name, images=(build_whoami,), network=network) as one:
        await deploy(one)
        async with (
            sending(one, _OUTSIDE) as outside,
            sending(one, _INSIDE, as_asker(one)) as within,
        ):
            plan = draw(seed, one.lab.nodes, kinds_of(network))
            done = await delete_all(one, plan, is_enough)
            loads: dict[str, Load] = {OUTSIDE: outside, INSIDE: within}
            ended = {path: await each.stop() for path, each in loads.items()}
    failed = [
        each
        for path, outcomes in ended.items()
        for each in failures(path, outcomes, loads[path].reports[0].began_at_s)
    ]
    deleted, unexplained = judge(done, failed)
    return Verdict(
        seed=seed,
        nodes=nodes,
        requests={path: len(outcomes) for path, outcomes in ended.items()},
        deleted=deleted,
        unexplained=unexplained,
    )


def main(words: Sequence[str]) -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.net", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--network", choices=get_args(NetworkMode), default="routed")
    options = parser.parse_args(words)
    ends_s = [0.0]

    def is_enough(count: int) -> bool:
        # The time counts from the first deletion: a lab that comes up slowly takes none of it.
        ends_s[0] = ends_s[0] if count else time.monotonic() + options.minutes * 60
        return time.monotonic() > ends_s[0]

    verdict = asyncio.run(chaos(options.seed, options.nodes, is_enough, network=options.network))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_bytes(msgspec.json.format(msgspec.json.encode(verdict)) + b"\n")
    for line in (*table(verdict), *verdict.bad()):
        _say(line)
    requests = ", ".join(f"{count} requests {path}" for path, count in verdict.requests.items())
    _say(f"{len(verdict.deleted)} deletions, {requests}, {len(verdict.bad())} things wrong")
    return 0 if verdict.is_good else 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
