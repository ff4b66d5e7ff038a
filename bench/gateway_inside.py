"""Runs in a network namespace of its own for bench/gateway.py: prints what a gateway costs."""

import asyncio
import json
import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench.load import Figures, haproxy, in_turns, wrk
from bench.statistics import spread
from node_agent.gateway.haproxy import HaproxyGateway
from shared import log
from tests.contract.gateway_rig import PORT, TARGET, A, B, endpoint, served, set_up_network

ROUNDS: Final = 8
SAME_PORT, BARE_PORT = PORT + 1, PORT + 2
_TICKS: Final = os.sysconf("SC_CLK_TCK")

_SERVER: Final = f"""\
global
    nbthread 1
defaults
    mode http
    timeout client 60s
    timeout server 60s
frontend in
    bind {A}:{TARGET}
    bind {B}:{TARGET}
    http-request return status 200 content-type text/plain string twenty-byte-answers
"""
_BARE: Final = f"""\
defaults
    mode http
    timeout client 60s
    timeout server 60s
    timeout connect 1s
frontend in
    bind 0.0.0.0:{BARE_PORT}
    default_backend web
backend web
    balance leastconn
    server one {A}:{TARGET}
    server two {B}:{TARGET}
"""
_KINDS: Final[Mapping[str, Sequence[str]]] = {
    "kept connections": (),
    "a new connection each": ("-H", "Connection: close"),
}


async def measure(folder: Path) -> dict[str, Any]:
    """Return requests a second and microseconds of HAProxy's CPU for each, by kind and way."""
    set_up_network()
    gateway = HaproxyGateway(folder / "gateway")
    configs = {way: folder / way / "haproxy.cfg" for way in ("server", "same", "bare")}
    for path in configs.values():
        path.parent.mkdir(parents=True)
    configs["server"].write_text(_SERVER)
    configs["bare"].write_text(_BARE)
    with ExitStack() as running:
        running.enter_context(haproxy(configs["server"], TARGET))
        try:
            status = await gateway.apply(served(endpoint(A), endpoint(B)))
            if status.problems:
                raise RuntimeError(status.problems[0])
            own = gateway.run_dir / "haproxy"
            text = (own / "haproxy.cfg").read_text()
            moved = text.replace(f"unix@{own}", f"unix@{folder / 'same'}")
            moved = moved.replace(f"socket {own}", f"socket {folder / 'same'}")
            configs["same"].write_text(moved.replace(f":{PORT}\n", f":{SAME_PORT}\n"))
            running.enter_context(haproxy(configs["same"], SAME_PORT))
            running.enter_context(haproxy(configs["bare"], BARE_PORT))
            ways = {
                "direct": (f"{A}:{TARGET}", configs["server"]),
                "gateway": (f"127.0.0.1:{PORT}", own / "haproxy.cfg"),
                "HAProxy, the same file": (f"127.0.0.1:{SAME_PORT}", configs["same"]),
                "HAProxy, the least file": (f"127.0.0.1:{BARE_PORT}", configs["bare"]),
            }
            found = in_turns(
                ROUNDS,
                _KINDS,
                list(ways),
                rate=lambda kind, way: wrk(f"http://{ways[way][0]}/", _KINDS[kind]),
                cpu_s=lambda way: _cpu_s(ways[way][1]),
            )
            figures = {kind: _compared(*of) for kind, of in found.items()}
            return {"runs": ROUNDS, "figures": figures}
        finally:
            await gateway.haproxy.stop()


def _compared(rates: Figures, costs: Figures) -> dict[str, Any]:
    return {
        "requests_a_second": {way: round(statistics.median(of)) for way, of in rates.items()},
        "cpu_us_a_request": {way: round(statistics.median(of), 1) for way, of in costs.items()},
        "gateway, percent, round by round": {
            way: spread([100 * a / b for a, b in zip(rates["gateway"], of, strict=True)], 1)
            for way, of in rates.items()
            if way != "gateway"
        },
    }


def _cpu_s(config: Path) -> float:
    """Return the CPU seconds that all HAProxy processes of a configuration have used."""
    ticks = 0
    for process in Path("/proc").iterdir():
        try:
            if str(config) in (process / "cmdline").read_text():
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        except OSError:
            continue  # no process, or one that has just ended
    return ticks / _TICKS


if __name__ == "__main__":
    log.set_up(level="error", part="bench")
    print(json.dumps(asyncio.run(measure(Path(sys.argv[1])))))
