"""Real etcd members on loopback, which tests may kill, freeze and start again.

Everything is synchronous, so that one cluster can serve tests that have an event loop each.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from shared.settings import EtcdSettings, TlsSettings

_START_S: Final = 15.0
_STOP_S: Final = 5.0
_CTL_S: Final = 5.0
# Short, so that an election takes a quarter of a second and a lease of one second is granted.
_TIMING: Final = ("--heartbeat-interval=50", "--election-timeout=250")
_MEMORY: Final = Path("/dev/shm")


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class EtcdMember:
    """One etcd process, its ports and its data directory."""

    def __init__(  # noqa: PLR0913 - where it is, each by name
        self,
        name: str,
        dir_: Path,
        ports: tuple[int, int],
        scheme: str,
        host: str,
        *,
        peer_host: str = "127.0.0.1",
        inside: Sequence[str] = (),
    ) -> None:
        """Prepare; `inside` is what begins a command where the process should run."""
        self.name = name
        self.endpoint = f"{host}:{ports[0]}"
        self.client_url = f"{scheme}://{self.endpoint}"
        self.peer_url = f"http://{peer_host}:{ports[1]}"
        self._inside = tuple(inside)
        self._dir = dir_ / name
        self._log = dir_ / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, cluster: str, more: Sequence[str]) -> None:
        """Start the process; it is not ready yet."""
        self._dir.mkdir(mode=0o700, exist_ok=True)
        arguments = [
            *self._inside,
            *(
                "etcd",
                f"--name={self.name}",
                f"--data-dir={self._dir}",
                f"--initial-cluster={cluster}",
            ),
            *(f"--listen-client-urls={self.client_url}", f"--listen-peer-urls={self.peer_url}"),
            f"--advertise-client-urls={self.client_url}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            *("--logger=zap", "--log-level=error", *_TIMING, *more),
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log)

    def kill(self) -> None:
        """End the process at once, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_S)
            self._process = None

    def freeze(self) -> None:
        """Stop the process without ending its connections; it stands still on return."""
        self._signal(signal.SIGSTOP)
        if self._process is not None:
            # The signal is taken by each thread when it next runs: until then a write may pass.
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._signal(signal.SIGCONT)

    def log(self) -> str:
        """Return what the process wrote."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _signal(self, which: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, which)


class EtcdCluster:
    """A cluster of etcd members, and `etcdctl` to look at it from outside."""

    def __init__(self, members: Sequence[EtcdMember], tls: TlsSettings | None = None) -> None:
        self.members = tuple(members)
        self.tls = tls
        self._more: tuple[str, ...] = ()
        self._user = ""

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Return host:port of every member."""
        return tuple(member.endpoint for member in self.members)

    def settings(self, **more: object) -> EtcdSettings:
        """Return what a client needs to be told."""
        return EtcdSettings(endpoints=self.endpoints, **more)  # type: ignore[arg-type]  # a test's

    def start(self, more: Sequence[str] = ()) -> None:
        """Start every member and wait until a majority answers."""
        self._more = tuple(more)
        for member in self.members:
            member.start(self._initial, self._more)
        self.wait_healthy()

    def revive(self) -> None:
        """Bring back whatever was frozen or killed, and wait until all is well."""
        for member in self.members:
            member.thaw()
            if member._process is None:  # noqa: SLF001 - the cluster owns its members
                member.start(self._initial, self._more)
        self.wait_healthy()

    def stop(self) -> None:
        """End every process."""
        for member in self.members:
            member.kill()

    def ctl(self, *arguments: str, member: EtcdMember | None = None, typed: str = "") -> str:
        """Return what `etcdctl` prints when `typed` is what it reads.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        endpoints = [each.client_url for each in ([member] if member else self.members)]
        command = ["etcdctl", f"--endpoints={','.join(endpoints)}", *self._tls_flags(), *arguments]
        command += [f"--user={self._user}"] if self._user else []
        environment = {**os.environ, "ETCDCTL_API": "3"}
        done = subprocess.run(
            command,
            env=environment,
            input=typed,
            timeout=_CTL_S,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def enable_auth(self, root_password: str) -> None:
        """Make a root user and let nobody in without a password from here on."""
        self.ctl("user", "add", f"root:{root_password}")
        self.ctl("user", "grant-role", "root", "root")
        self.ctl("auth", "enable")
        self._user = f"root:{root_password}"

    def wait_healthy(self) -> None:
        """Return when every member answers.

        Raises:
            TimeoutError: one does not.
        """
        deadline_s = time.monotonic() + _START_S
        while True:
            with suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
                self.ctl("endpoint", "health", "--command-timeout=1s")
                return
            if time.monotonic() > deadline_s:
                raise TimeoutError("etcd: " + "".join(m.log()[-2000:] for m in self.members))
            time.sleep(0.05)

    @property
    def _initial(self) -> str:
        return ",".join(f"{member.name}={member.peer_url}" for member in self.members)

    def _tls_flags(self) -> list[str]:
        if self.tls is None:
            return []
        return [f"--cacert={self.tls.ca}", f"--cert={self.tls.cert}", f"--key={self.tls.key}"]


@contextmanager
def running_etcd(
    size: int,
    *,
    tls: TlsSettings | None = None,
    more: Sequence[str] = (),
    host: str = "127.0.0.1",
) -> Generator[EtcdCluster, None, None]:
    """Run a cluster of `size` members inside the `with`.

    Args:
        size: how many members.
        tls: used by clients, and asked of them; the certificate must be good for `host`.
        more: flags for every member.
        host: the address of this machine at which clients reach them.
    """
    ports = free_ports(2 * size)
    root = Path(tempfile.mkdtemp(prefix="hafen-etcd-", dir=_MEMORY if _MEMORY.is_dir() else None))
    scheme = "http" if tls is None else "https"
    pairs = list(zip(ports[::2], ports[1::2], strict=True))
    cluster = EtcdCluster(
        [EtcdMember(f"m{number}", root, pair, scheme, host) for number, pair in enumerate(pairs)],
        tls,
    )
    flags = (
        ()
        if tls is None
        else (
            *("--client-cert-auth", f"--trusted-ca-file={tls.ca}"),
            *(f"--cert-file={tls.cert}", f"--key-file={tls.key}"),
        )
    )
    try:
        cluster.start([*flags, *more])
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(root, ignore_errors=True)
