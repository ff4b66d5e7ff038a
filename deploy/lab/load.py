"""Open-loop HTTP load: requests leave when they are due, however many still wait for an answer.

`python -m deploy.lab.load --url web=http://198.18.0.2:8080/ --rate 100 --seconds 20` writes one
LoadReport a line to standard output, twice a second, and a final one. It exits with 1 when a
request failed. It sends no request twice, and only GET, which is idempotent, unless it is told to
send some POST as well: those may fail when what answers them dies. With `--sockets` it also keeps
websockets open (deploy.lab.sockets): what becomes of them is counted apart from the requests.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

import click

from deploy.lab.http1 import Answer, Connection, cause_of
from deploy.lab.sockets import Life, Sockets
from deploy.lab.tally import LoadReport, Outcome, Tally
from shared import codec
from shared.errors import SpecError
from shared.model import Record

REPORT_PERIOD_S: Final = 0.5
# Past this the machine would measure its own exhaustion: at 200/s it is ten seconds of silence.
IN_FLIGHT_MAX: Final = 2000
RATE_PER_S_MAX: Final = 5000.0
_WRONG_ECHO: Final = "another body came back"


class Target(Record, frozen=True, kw_only=True):
    """Where requests of one name go."""

    name: str
    host: str
    port: int
    path: str = "/"

    @property
    def authority(self) -> str:
        """Return the value of the Host header."""
        return f"{self.host}:{self.port}"


class LoadPlan(Record, frozen=True, kw_only=True):
    """What to send.

    Attributes:
        rate_per_s: of all targets together; they take turns.
        seconds: for how long; 0: until told to stop.
        connections: how many idle connections are kept for each target.
        fresh_every: one in so many requests opens a new connection; 0: only when none is idle.
        timeout_s: counted from when a request was due.
        post_every: one in so many requests is a POST to `post_path`; 0: none is.
        post_bytes: the size of its body, which must come back; 0: it has none.
        sockets: how many websockets are kept open to each target.
        socket_period_s: between two messages of one of them.
        connect: where all connections go, whatever host the targets name; empty: there.
    """

    targets: tuple[Target, ...]
    rate_per_s: float
    seconds: float = 0.0
    connections: int = 16
    fresh_every: int = 10
    timeout_s: float = 15.0
    in_flight_max: int = IN_FLIGHT_MAX
    post_every: int = 0
    post_path: str = "/"
    post_bytes: int = 0
    sockets: int = 0
    socket_period_s: float = 0.5
    connect: str = ""

    def due_s(self, number: int) -> float:
        """Return when request `number`, counted from 0, is to be sent."""
        return number / self.rate_per_s

    def target(self, number: int) -> Target:
        """Return where request `number` goes."""
        return self.targets[number % len(self.targets)]

    def is_fresh(self, number: int) -> bool:
        """Say whether request `number` opens a new connection; every target gets its share."""
        turn = number // len(self.targets)
        return bool(self.fresh_every) and turn % self.fresh_every == 0

    def is_post(self, number: int) -> bool:
        """Say whether request `number` is a POST; the first ones of a run are not."""
        turn = number // len(self.targets)
        return bool(self.post_every) and turn % self.post_every == self.post_every - 1

    def body(self, number: int) -> bytes:
        """Return what a POST carries: its number, so that no answer passes for another."""
        return f"{number} ".encode().ljust(self.post_bytes, b".") if self.post_bytes else b""


def read_target(text: str) -> Target:
    """Return the target that `NAME=URL` or `URL` describes.

    Raises:
        SpecError: not an http:// address.
    """
    name, equals, address = text.partition("=")
    if not equals or "/" in name:
        name, address = "", text
    parts = urlsplit(address)
    try:
        port = parts.port or 80
    except ValueError as error:
        raise SpecError(f"{text}: {error}") from error
    if parts.scheme != "http" or not parts.hostname:
        raise SpecError(f"{text}: expected NAME=http://HOST[:PORT]/PATH")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii() or any(letter.isspace() for letter in path):
        raise SpecError(f"{text}: the path must be percent-encoded")
    return Target(
        name=name or f"{parts.hostname}:{port}", host=parts.hostname, port=port, path=path
    )


class Generator:
    """Sends what a plan says and tells every report and outcome to whoever asked.

    Every request that was sent ends in exactly one outcome, cancellation of the whole run apart.
    """

    def __init__(
        self,
        plan: LoadPlan,
        *,
        on_report: Callable[[LoadReport], None],
        on_outcome: Callable[[Outcome], None] | None = None,
        on_life: Callable[[Life], None] | None = None,
        wall_s: float,
    ) -> None:
        self._plan = plan
        self._on_report = on_report
        self._on_outcome = on_outcome
        self._on_life = on_life
        self._began_s = asyncio.get_running_loop().time()
        self._tally = Tally([target.name for target in plan.targets], began_at_s=wall_s)
        self._idle: dict[str, list[Connection]] = {target.name: [] for target in plan.targets}
        self._stop = asyncio.Event()
        self._opened_s: dict[int, float] = {}  # of requests in flight
        self._sockets = [self._sockets_of(target) for target in plan.targets if plan.sockets]

    def stop(self) -> None:
        """Send nothing more; what is in flight is still waited for."""
        self._stop.set()

    async def run(self) -> LoadReport:
        """Send until the plan ends or `stop`; return the final report, which was reported too."""
        try:
            async with asyncio.TaskGroup() as reports:
                reporting = reports.create_task(self._report_for_ever())
                async with asyncio.TaskGroup() as requests:
                    await self._send_all(requests)
                    for sockets in self._sockets:
                        sockets.stop()
                reporting.cancel()
        finally:
            for connections in self._idle.values():
                for connection in connections:
                    connection.close()
        final = self._tally.report(self._now_s(), final=True)
        self._on_report(final)
        return final

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time() - self._began_s

    async def _report_for_ever(self) -> None:
        while True:
            await asyncio.sleep(REPORT_PERIOD_S)
            self._on_report(self._tally.report(self._now_s(), final=False))

    def _sockets_of(self, target: Target) -> Sockets:
        return Sockets(
            self._plan.connect or target.host,
            target.port,
            count=self._plan.sockets,
            period_s=self._plan.socket_period_s,
            now_s=self._now_s,
            on_life=self._on_life or (lambda _: None),
        )

    async def _send_all(self, requests: asyncio.TaskGroup) -> None:
        for sockets in self._sockets:
            requests.create_task(sockets.run())
        number = 0
        while not self._plan.seconds or self._plan.due_s(number) < self._plan.seconds:
            if await self._stopped_before(self._plan.due_s(number)):
                return
            requests.create_task(self._request(number))
            number += 1

    async def _stopped_before(self, moment_s: float) -> bool:
        try:
            async with asyncio.timeout_at(self._began_s + moment_s):
                await self._stop.wait()
        except TimeoutError:
            return False
        return True

    async def _request(self, number: int) -> None:
        target, due_s = self._plan.target(number), self._plan.due_s(number)
        full = self._tally.in_flight >= self._plan.in_flight_max
        self._tally.sent(number, target.name, due_s=due_s, now_s=self._now_s())
        status, version, error = 0, "", f"not sent: {self._plan.in_flight_max} in flight"
        if not full:
            try:
                async with asyncio.timeout_at(self._began_s + due_s + self._plan.timeout_s):
                    answer = await self._exchange(number, target)
                status, version = answer.status, answer.headers.get("x-version", "")
                error = self._wrong(number, answer)
            except OSError as failure:  # TimeoutError is one of them
                error = cause_of(failure)
        outcome = Outcome(
            target=target.name,
            due_s=due_s,
            ended_s=self._now_s(),
            status=status,
            error=error,
            idempotent=not self._plan.is_post(number),
            is_fresh=self._plan.is_fresh(number),
            version=version,
            opened_s=self._opened_s.pop(number, None),
        )
        self._tally.ended(number, outcome)
        if self._on_outcome:
            self._on_outcome(outcome)

    def _wrong(self, number: int, answer: Answer) -> str:
        """Return what is wrong with an answer that is whole; empty: nothing."""
        is_echo = self._plan.is_post(number) and bool(self._plan.post_bytes)
        good = answer.status < 400  # noqa: PLR2004 - else the status says it
        return _WRONG_ECHO if is_echo and good and answer.body != self._plan.body(number) else ""

    async def _exchange(self, number: int, target: Target) -> Answer:
        """Send one request over an idle connection, or over a new one, and return the answer."""
        fresh = self._plan.is_fresh(number)
        connection = None if fresh else self._take_idle(target)
        if connection is None:
            connection = await Connection.open(self._plan.connect or target.host, target.port)
            connection.opened_s = self._now_s()
        self._opened_s[number] = connection.opened_s
        idle = self._idle[target.name]
        try:
            post = self._plan.is_post(number)
            method, path = ("POST", self._plan.post_path) if post else ("GET", target.path)
            body = self._plan.body(number) if post else b""
            answer = await connection.send(
                method, target.authority, path, keep=not fresh, body=body
            )
            if connection.is_reusable and len(idle) < self._plan.connections:
                idle.append(connection)
                connection = None
        finally:
            if connection is not None:
                connection.close()
        return answer

    def _take_idle(self, target: Target) -> Connection | None:
        idle = self._idle[target.name]
        while idle:
            connection = idle.pop()
            if connection.is_reusable:
                return connection
            connection.close()
        return None


async def generate(
    plan: LoadPlan,
    output: IO[bytes],
    requests: IO[bytes] | None = None,
    lives: IO[bytes] | None = None,
) -> LoadReport:
    """Run `plan`, stop early on SIGINT or SIGTERM, write every report to `output` as a line.

    Args:
        plan: what to send.
        output: gets a LoadReport a line.
        requests: gets an Outcome a line; None: nobody wants them.
        lives: gets a Life a line, of each websocket; None: nobody wants them.

    Raises:
        BrokenPipeError: in an ExceptionGroup: nobody reads `output` any more.
    """

    def write(report: LoadReport) -> None:
        output.write(codec.encode(report) + b"\n")
        output.flush()

    generator = Generator(
        plan,
        on_report=write,
        on_outcome=_writer(requests),
        on_life=_writer(lives),
        wall_s=time.time(),  # noqa: TID251 - a process of its own; lines its report up with the cluster's events
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, generator.stop)
    return await generator.run()


def _writer(file: IO[bytes] | None) -> Callable[[Record], None] | None:
    """Return what writes a record as a line; None: there is no file for it."""
    if file is None:
        return None
    return partial(_write_line, file)


def _write_line(file: IO[bytes], record: Record) -> None:
    file.write(codec.encode(record) + b"\n")


@click.command(context_settings={"max_content_width": 100})
@click.option(
    "--url", "urls", multiple=True, required=True, metavar="[NAME=]URL", help="Repeatable."
)
@click.option("--connect", default="", metavar="ADDRESS", help="Whatever hosts the URLs name.")
@click.option("--rate", type=click.FloatRange(0, RATE_PER_S_MAX, min_open=True), default=100.0)
@click.option("--seconds", type=click.FloatRange(0), default=0.0, help="0: until SIGTERM.")
@click.option("--connections", type=click.IntRange(1), default=16, help="Kept idle, per target.")
@click.option(
    "--fresh-every", type=click.IntRange(0), default=10, help="0: reuse whenever possible."
)
@click.option("--timeout", "timeout_s", type=click.FloatRange(0, min_open=True), default=15.0)
@click.option("--post-every", type=click.IntRange(0), default=0, help="0: send no POST.")
@click.option("--post-path", default="/", help="Where POSTs go.")
@click.option("--post-bytes", type=click.IntRange(0), default=0, help="Which must come back.")
@click.option("--sockets", type=click.IntRange(0), default=0, help="Websockets kept, per target.")
@click.option("--requests", type=click.Path(dir_okay=False, path_type=Path), help="A line each.")
@click.option("--lives", type=click.Path(dir_okay=False, path_type=Path), help="Of the sockets.")
def main(  # noqa: PLR0913 - one parameter for each option
    *,
    urls: Sequence[str],
    connect: str,
    rate: float,
    seconds: float,
    connections: int,
    fresh_every: int,
    timeout_s: float,
    post_every: int,
    post_path: str,
    post_bytes: int,
    sockets: int,
    requests: Path | None,
    lives: Path | None,
) -> None:
    """Send requests at a constant rate and report twice a second, one JSON object a line."""
    try:
        targets = tuple(read_target(url) for url in urls)
    except SpecError as error:
        raise click.UsageError(str(error)) from error
    if len({target.name for target in targets}) < len(targets):
        raise click.UsageError("two targets have the same name; write NAME=URL")
    plan = LoadPlan(
        targets=targets,
        rate_per_s=rate,
        seconds=seconds,
        connections=connections,
        fresh_every=fresh_every,
        timeout_s=timeout_s,
        post_every=post_every,
        post_path=post_path,
        post_bytes=post_bytes,
        sockets=sockets,
        connect=connect,
    )
    with ExitStack() as stack:
        files = [
            stack.enter_context(each.open("wb")) if each else None for each in (requests, lives)
        ]
        failed = True  # unless a report says otherwise: nobody may be there to read it
        try:
            report = asyncio.run(generate(plan, sys.stdout.buffer, *files))
            failed = any(target.failed for target in report.targets)
        except* BrokenPipeError:
            pass
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
