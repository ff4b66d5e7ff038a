"""What a person asked for of one container: everything that a node needs to run it.

Pure.
"""

import enum
from collections.abc import Mapping

import msgspec

from shared.model.base import Record, Resources
from shared.model.network import Joined


class Protocol(enum.StrEnum):
    """What a published port speaks; decides how the gateway retries and holds."""

    HTTP = "http"
    TCP = "tcp"
    UDP = "udp"  # balanced in the kernel, no gateway sees it


class PublishedPort(Record, frozen=True, kw_only=True):
    """A port of nodes that leads to the service's replicas.

    Attributes:
        is_host: only nodes with a replica have it, each for its own one; no node has two.
    """

    published: int
    target: int
    protocol: Protocol = Protocol.TCP
    is_host: bool = False


class HealthCheck(Record, frozen=True, kw_only=True):
    """A command run inside the container; exit code 0 means healthy.

    Attributes:
        test: argv. A shell form arrives here as ("/bin/sh", "-c", text).
        start_period_s: failures are not counted for this long after the start.
        start_interval_s: time between checks until the first success.
        retries: consecutive failures that make a healthy container unhealthy.
    """

    test: tuple[str, ...]
    interval_s: float = 30.0
    timeout_s: float = 30.0
    retries: int = 3
    start_period_s: float = 0.0
    start_interval_s: float = 5.0


class RestartCondition(enum.StrEnum):
    """Which ends of a container are followed by another start."""

    ANY = "any"
    ON_FAILURE = "on-failure"  # an end with code 0 completes the allocation
    NONE = "none"  # the first end completes it, or fails it


class RestartPolicy(Record, frozen=True, kw_only=True):
    """Whether and when a node starts a container again that has ended.

    Attributes:
        delay_s: between an end and the next start; None: at once, then ever longer.
        max_attempts: starts after the first one until the allocation is given up for good, on this
            node and on every other; None: a few quick ends in a row, then another node tries.
        window_s: a start that lived this long counts as none of them; 0: every start counts.
    """

    condition: RestartCondition = RestartCondition.ANY
    delay_s: float | None = None
    max_attempts: int | None = None
    window_s: float = 10.0


class MountKind(enum.StrEnum):
    """Where what is mounted comes from."""

    VOLUME = "volume"  # a folder of the node that outlives containers
    BIND = "bind"  # a path of the host
    TMPFS = "tmpfs"  # memory


class Mount(Record, frozen=True, kw_only=True):
    """One place in the container's file system that is not its image's.

    Attributes:
        source: of a volume its name in the cluster; of a bind mount an absolute path of the node;
            empty for tmpfs, and for a volume without a name, which goes with its container.
        subpath: below the volume; relative, without "..".
        size_bytes: of a tmpfs; 0: half of the memory, as the kernel has it.
        mode: of a tmpfs's root directory; 0: 1777.
        propagation: of a bind mount, such as rprivate; empty: rprivate.
        create: make a bind mount's source, a directory, where the node has none.
        copy: fill a new volume with what the image has at the target.
    """

    kind: MountKind
    target: str
    source: str = ""
    subpath: str = ""
    read_only: bool = False
    size_bytes: int = 0
    mode: int = 0
    propagation: str = ""
    create: bool = True
    copy: bool = True


class MountedFile(Record, frozen=True, kw_only=True):
    """A config or a secret as one file of the container.

    Attributes:
        content: names the Content, see keys.content; it changes with what is in it.
        target: an absolute path.
        uid, gid: of the owner, in digits; empty: 0.
        is_secret: it lies in memory on the node, never on its disk.
    """

    content: str
    target: str
    uid: str = ""
    gid: str = ""
    mode: int = 0o444
    is_secret: bool = False


class Ulimit(Record, frozen=True, kw_only=True):
    """A limit of the process, such as nofile; -1: none."""

    name: str
    soft: int
    hard: int


class Device(Record, frozen=True, kw_only=True):
    """A device node of the host, and what may be done to it: some of r, w and m."""

    source: str
    target: str
    permissions: str = "rwm"


class Security(Record, frozen=True, kw_only=True):
    """Who the process is and what it may do.

    Attributes:
        user: "uid", "uid:gid" or names of the image's own files; empty: the image's.
        groups: more of them, in digits or as names of the image's own file.
        cap_add, cap_drop: names as NET_ADMIN; ALL stands for every one.
        no_new_privileges: setuid programs and file capabilities give nothing.
        seccomp: False: no filter of system calls.
        system_paths: False: what is masked or read-only below /proc and /sys is open.
        devices: of the host.
        device_rules: for the device cgroup, such as "c 1:3 mr".
    """

    user: str = ""
    groups: tuple[str, ...] = ()
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    no_new_privileges: bool = True
    seccomp: bool = True
    system_paths: bool = True
    read_only: bool = False
    devices: tuple[Device, ...] = ()
    device_rules: tuple[str, ...] = ()


class Naming(Record, frozen=True, kw_only=True):
    """What the container calls itself and others.

    Attributes:
        hostname: empty: <service>-<slot>.
        extra_hosts: "name=address" each, for /etc/hosts; the address host-gateway is its node's.
        dns: servers that are asked in place of the node's for names that mean nothing here.
    """

    hostname: str = ""
    domainname: str = ""
    extra_hosts: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()


class Throttle(Record, frozen=True, kw_only=True):
    """A rate of one block device of the host: bytes or operations a second, or a weight."""

    path: str
    rate: int


class BlockIo(Record, frozen=True, kw_only=True):
    """How the container shares disks; weights are 10 to 1000, 0: the kernel's own."""

    weight: int = 0
    weight_devices: tuple[Throttle, ...] = ()
    read_bps: tuple[Throttle, ...] = ()
    read_iops: tuple[Throttle, ...] = ()
    write_bps: tuple[Throttle, ...] = ()
    write_iops: tuple[Throttle, ...] = ()


class Tuning(Record, frozen=True, kw_only=True):
    """How the kernel treats the container's processes.

    Attributes:
        cpuset: such as "0-2,4"; empty: all.
        cpu_shares: a weight, 1024 for an ordinary one; 0: by what is reserved.
        memory_swap_bytes: memory and swap together; 0: as much as memory alone; -1: no limit.
        swappiness: 0 to 100; None: the kernel's own.
        oom_score_adj: -1000 to 1000.
        shm_bytes: of /dev/shm; 0: 64 MiB.
        pid, ipc, uts, cgroup: "host" for the node's own namespace; empty for one of its own.
    """

    cpuset: str = ""
    cpu_shares: int = 0
    memory_swap_bytes: int = 0
    swappiness: int | None = None
    oom_score_adj: int = 0
    oom_kill_disable: bool = False
    block_io: BlockIo = BlockIo()
    shm_bytes: int = 0
    ulimits: tuple[Ulimit, ...] = ()
    sysctls: Mapping[str, str] = {}
    pid: str = ""
    ipc: str = ""
    uts: str = ""
    cgroup: str = ""


class PullPolicy(enum.StrEnum):
    """When a node asks the registry."""

    MISSING = "missing"
    ALWAYS = "always"  # before every new container
    NEVER = "never"


class Workload(Record, frozen=True, kw_only=True):
    """Everything a node needs to run one container; a change of what it is means another container.

    Attributes:
        command: replaces the image's CMD; None keeps it.
        entrypoint: replaces the image's ENTRYPOINT and drops its CMD; None keeps both.
        healthcheck: None: ready as soon as every target port accepts a connection.
        stop_signal: name or number; empty: the image's.
        working_dir: empty: the image's.
        limits: enforced by the kernel.
        reservations: counted by placement.
        exclusive: at most one copy runs, ever: its node must hold the slot's claim.
        init: a small init is process 1 and reaps what nobody waits for.
        tty, stdin: the process gets a terminal; its standard input stays open.
        platform: such as linux/arm64; empty: the node's.
        exposed: further ports that must accept a connection before it is ready, such as a route's.
        networks: what it is on, and its names there.
        network_mode: "host" for the node's own network, "none" for no network; empty: `networks`.
        force: counts restarts that a person asked for: another number, another container.
        run: of a job: which of its runs this is.
    """

    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    healthcheck: HealthCheck | None = None
    stop_grace_period_s: float = 10.0
    stop_signal: str = ""
    working_dir: str = ""
    limits: Resources = Resources()
    reservations: Resources = Resources()
    ports: tuple[PublishedPort, ...] = ()
    exposed: tuple[int, ...] = ()
    exclusive: bool = False
    restart: RestartPolicy = RestartPolicy()
    mounts: tuple[Mount, ...] = ()
    files: tuple[MountedFile, ...] = ()
    security: Security = Security()
    naming: Naming = Naming()
    tuning: Tuning = Tuning()
    init: bool = False
    tty: bool = False
    stdin: bool = False
    platform: str = ""
    pull: PullPolicy = PullPolicy.MISSING
    networks: tuple[Joined, ...] = ()
    network_mode: str = ""
    force: int = 0
    run: int = 0


def runs_alike(one: Workload, other: Workload) -> bool:
    """Say whether a container of the one workload is as good as one of the other, where it is.

    What people write on it, what it is called and reaches on its networks, where its ports are
    published and when its image is pulled again change nothing inside: no container is replaced for
    them. A fixed address is one that it has, and a port of the node itself is a reason to be on
    another node.
    """
    return one == other or _inside(one) == _inside(other)


def _inside(workload: Workload) -> Workload:
    taken = {
        (port.published, port.protocol is Protocol.UDP) for port in workload.ports if port.is_host
    }
    addresses = {joined.address for joined in workload.networks if joined.address}
    return msgspec.structs.replace(
        workload,
        labels={},
        ports=(
            *(PublishedPort(published=0, target=target) for target in listened(workload)),
            *(_of_the_node(number, is_udp=is_udp) for number, is_udp in sorted(taken)),
        ),
        exposed=(),
        pull=PullPolicy.MISSING,
        networks=tuple(Joined(network="", address=address) for address in sorted(addresses)),
    )


def _of_the_node(number: int, *, is_udp: bool) -> PublishedPort:
    protocol = Protocol.UDP if is_udp else Protocol.TCP
    return PublishedPort(published=number, target=0, protocol=protocol, is_host=True)


def listened(workload: Workload) -> tuple[int, ...]:
    """Return the ports inside the container that somebody connects to, in order; of udp nobody."""
    tcp = (port.target for port in workload.ports if port.protocol is not Protocol.UDP)
    return tuple(sorted({*tcp, *workload.exposed}))
