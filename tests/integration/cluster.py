"""A lab of real hosts driven as a person drives it: through the command line, from outside."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.lab.images import build_whoami
from deploy.lab.plan import Paths
from shared.errors import NotFoundError
from tests.integration.typist import type_
from tests.waiting import until_sync

_HAFEN = (sys.executable, "-c", "from deploy.cli.main import main; main()")
_COMMAND_S = 150
# The name server's module begins with the same words.
_AGENT = "-m node_agent( |$)"
_AGAIN_S = 20.0


class Cluster:
    """A lab that is up. Every method runs one command."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    def run(self, *words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `hafen --lab NAME WORDS`; with `ok` it must end with 0."""
        return _run("--lab", self.name, *words, ok=ok)

    def lab(self, *words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `hafen lab WORDS --name NAME`."""
        verb, *rest = words
        return _run("lab", verb, "--name", self.name, *rest, ok=ok)

    def inside(self, where: str, *argv: str, ok: bool = True) -> str:
        """Run a program in a host or on the client and return what it printed."""
        return self.lab("exec", where, "--", *argv, ok=ok).stdout

    def console(self, host: str) -> Path:
        """Return the file with what hafen's programs on a host said."""
        return Paths(self.name).console(host)

    def json(self, *words: str) -> Any:
        """Run a listing command and return its JSON."""
        return json.loads(self.run(*words, "--json").stdout)

    def compose(self, text: str) -> str:
        """Write a Compose file and return its path."""
        path = Path(tempfile.mkstemp(dir=self.folder, suffix=".yaml")[1])
        path.write_text(text)
        return str(path)

    def deploy(self, name: str, text: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Deploy a Compose file that may be refused."""
        file = self.compose(text)
        return self.run("deploy", "-f", file, "--name", name, *options, ok=False)

    def typed(self, *words: str) -> subprocess.Popen[str]:
        """Begin `hafen --lab NAME WORDS`, for those who do not wait for its end."""
        return subprocess.Popen(
            [*_HAFEN, "--lab", self.name, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @contextmanager
    def requests(self, host: str, port: int) -> Iterator[list[str]]:
        """GET / again and again meanwhile; afterwards the list has every answer, or FAILED."""
        address = f"http://198.18.0.{host.rpartition('-')[2]}:{port}/"
        flag, out = (Path(tempfile.mkstemp(dir=self.folder)[1]) for _ in range(2))
        # At a pace that leaves the machine to the hosts.
        once = f"busybox wget -q -O - {address} >>{out} || echo FAILED >>{out}; sleep 0.05"
        argv = [*_HAFEN, "lab", "exec", "--name", self.name, "client", "--"]
        answers: list[str] = []
        loop = f"while [ -e {flag} ]; do {once}; done"
        with subprocess.Popen([*argv, "sh", "-c", loop]) as process:
            try:
                until_sync(lambda: out.stat().st_size > 0, _COMMAND_S)
                yield answers
            finally:
                flag.unlink()
                process.wait(_COMMAND_S)
        answers += out.read_text().splitlines()

    def allocations(self, stack: str) -> list[dict[str, Any]]:
        """Return what `hafen ps STACK --json` lists."""
        done = self.run("ps", stack, "--json", ok=False)
        if done.returncode == NotFoundError.exit_code:
            return []
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout).get("allocations", [])
        assert isinstance(found, list)
        return found

    def ready(self, stack: str) -> list[dict[str, Any]]:
        """Return the allocations of a stack that run and are healthy."""
        return [
            each
            for each in self.allocations(stack)
            if each["state"] == "running" and each["health"] == "healthy"
        ]

    def fetch(self, host: str, port: int) -> str:
        """GET / from the client through a host's gateway; empty if that failed."""
        address = f"http://198.18.0.{host.rpartition('-')[2]}:{port}/"
        return self.inside("client", "busybox", "wget", "-q", "-O", "-", address, ok=False)

    def pids(self, host: str, pattern: str) -> list[int]:
        """Return the processes of a host whose command line matches, by its own numbers.

        Without those that a process has only just forked: they have its command line until they
        are another program, or for the one request that they answer.
        """
        out = self.inside(host, "ps", "-eww", "-o", "pid=,ppid=,stat=,args=", ok=False)
        found = {
            int(pid): (int(parent), line)
            for pid, parent, state, line in (row.split(maxsplit=3) for row in out.splitlines())
            if not state.startswith("Z") and re.search(pattern, line)
        }
        return sorted(
            pid
            for pid, (parent, line) in found.items()
            if parent not in found or found[parent][1] != line
        )

    def kill_agent(self, host: str) -> None:
        """End a host's agent without a word; return once another runs in its place."""
        (agent,) = self.pids(host, _AGENT)
        self.inside(host, "kill", "-9", str(agent))
        until_sync(lambda: self.pids(host, _AGENT) not in ([], [agent]), _AGAIN_S)

    def until_ready(self, stack: str, count: int, within_s: float = 60.0) -> None:
        """Wait until exactly `count` allocations of a stack are ready and nothing else is left."""
        until_sync(
            lambda: len(self.ready(stack)) == len(self.allocations(stack)) == count, within_s
        )

    def until_listed(
        self, stack: str, before: list[dict[str, Any]], within_s: float = 60.0
    ) -> None:
        """Wait until a stack of ready replicas is listed as it was before, and nothing ails it.

        Until then none of it may be another one, move, or be started again. Only what is said of
        its nodes may differ: one whose agent was away for a moment does not answer.
        """

        def is_listed() -> bool:
            now = self.allocations(stack)
            assert _lives(now) == _lives(before)
            return now == [{**each, "reason": ""} for each in before]

        until_sync(is_listed, within_s)

    def until_fetched(self, host: str, port: int, part: str = "", within_s: float = 30.0) -> None:
        """Wait until a host's gateway answers with something that has `part` in it."""

        def is_fetched() -> bool:
            answer = self.fetch(host, port)
            return answer != "" and part in answer

        until_sync(is_fetched, within_s)


def _lives(listed: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return of listed allocations what is the same for as long as their containers live."""
    kept = ("id", "node", "address", "restarts", "since_s")
    return [tuple(each[name] for name in kept) for each in listed]


def _run(*words: str, ok: bool) -> subprocess.CompletedProcess[str]:
    done = type_(*words)
    assert not ok or done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done


@contextmanager
def lab(
    name: str,
    folder: Path,
    nodes: int = 3,
    tags: Sequence[str] = ("1",),
    options: Sequence[str] = (),
) -> Iterator[Cluster]:
    """Bring up a lab with whoami images on every host; take it down whatever happens.

    Args:
        name: of the lab.
        folder: for what is needed on the way.
        nodes: how many hosts.
        tags: of the images.
        options: more for `hafen lab up`.
    """
    cluster = Cluster(name, folder)
    cluster.lab("down")
    try:
        cluster.lab("up", "--nodes", str(nodes), "--wait", *options)
        for tag in tags:
            archive = folder / f"whoami-{tag}.tar"
            build_whoami(archive, tag)
            cluster.lab("load", str(archive))
        yield cluster
    finally:
        cluster.lab("down")
