"""Load by wrk, one thread with sixty-four connections, what it costs, and HAProxy to send it to."""

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.waiting import until_sync

SECONDS: Final = 3
# By way, one of each round.
Figures = dict[str, list[float]]
_LISTENS_S: Final = 10.0
_WRK: Final = ("wrk", "-t1", "-c64", f"-d{SECONDS}")


def wrk(url: str, more: Sequence[str] = (), within: Sequence[str] = ()) -> float:
    """Return how many requests a second were answered.

    Args:
        url: what is asked.
        more: of wrk's options.
        within: a program that runs it elsewhere, such as nsenter.

    Raises:
        RuntimeError: wrk said something else.
    """
    argv = [*within, *_WRK, *more, url]
    out = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", out)
    if found is None:
        raise RuntimeError(f"wrk says: {out}")
    return float(found[1])


def machine_s() -> float:
    """Return the CPU seconds that all of the machine has been busy, the kernel's included."""
    user, nice, system, _, _, irq, softirq = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def in_turns(
    rounds: int,
    kinds: Iterable[str],
    ways: Sequence[str],
    *,
    rate: Callable[[str, str], float],
    cpu_s: Callable[[str], float],
) -> dict[str, tuple[Figures, Figures]]:
    """Return, by kind, what each round found for each way: requests a second, and CPU a request.

    All ways meet the same load of the machine, and each has its turn at being first.

    Args:
        rounds: how many.
        kinds: of requests.
        ways: that they take.
        rate: sends requests of a kind by a way for SECONDS; returns how many a second.
        cpu_s: the CPU seconds that a way has used; microseconds a request come of it.
    """
    found: dict[str, tuple[Figures, Figures]] = {
        kind: ({way: [] for way in ways}, {way: [] for way in ways}) for kind in kinds
    }
    for number in range(rounds):
        turn = number % len(ways)
        for kind, (rates, costs) in found.items():
            for way in (*ways[turn:], *ways[:turn]):
                before_s = cpu_s(way)
                rates[way].append(rate(kind, way))
                costs[way].append(1e6 * (cpu_s(way) - before_s) / (rates[way][-1] * SECONDS))
    return found


@contextmanager
def haproxy(config: Path, port: int, within: Sequence[str] = ()) -> Iterator[None]:
    """Run HAProxy as long as the block, once it listens.

    Args:
        config: its configuration.
        port: one of those that it opens.
        within: a program that runs it elsewhere, such as nsenter.
    """
    listening = [*within, "ss", "-Hltn", f"sport = :{port}"]
    argv = [*within, "haproxy", "-db", "-f", str(config)]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        try:
            until_sync(lambda: bool(subprocess.check_output(listening)), _LISTENS_S)
            yield
        finally:
            process.kill()
