"""Several nodes on one segment, each a network namespace with a NodeNetwork of its own.

The process' own namespace is the switch: it has a bridge that all nodes are plugged into, and a
stranger beside it, a machine of the segment that is no node.
"""

import asyncio
import errno
import math
import socket
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from node_agent.network import namespaces
from node_agent.network.fabric import FabricStatus, Topology
from node_agent.network.network import Asked, Attachment
from node_agent.network.node import NodeNetwork
from node_agent.nftables import Nftables
from shared.model import (
    AllocId,
    Endpoint,
    EndpointState,
    Joined,
    Network,
    NodeName,
    NodeSpec,
    Protocol,
    PublishedPort,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
)
from shared.settings import EtcdSettings, Settings

T = TypeVar("T")

SHOP: Final = StackName("shop")
STRANGER: Final = "198.18.0.9"
STRANGER6: Final = "fd00:68::c612:9"
POOL6: Final = "fd00:68::/96"
# Long enough for an answer on a machine that is busy, short enough for one that never comes.
ANSWER_S: Final = 5.0
SILENCE_S: Final = 0.4
PUBLISHED, UNPUBLISHED, METRICS = 8080, 2379, 9100
_DUPLICATES: Final = "/proc/sys/net/ipv6/conf/default/accept_dad"
_MTU: Final = 1400
_HEADERS: Final = 28  # of IPv4 and UDP
_MTU_DISCOVER, _DO_NOT_FRAGMENT = 10, 2  # from linux/in.h


def run_all(*commands: str) -> None:
    for command in commands:
        subprocess.run(command.split(), check=True)


class Machine:
    """A namespace, and what is done inside it."""

    def __init__(self, pin: Path) -> None:
        self.pin = pin

    def inside(self, work: Callable[[], T]) -> T:
        return namespaces.enter(self.pin, work)

    def run(self, command: str) -> str:
        done = self.inside(
            lambda: subprocess.run(command.split(), capture_output=True, text=True, check=False)
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def nft(self, script: str) -> None:
        argv = ["nft", "-f", "-"]
        self.inside(lambda: subprocess.run(argv, input=script, text=True, check=True))

    def try_run(self, command: str) -> None:
        """Run what may have nothing left to do."""
        self.inside(lambda: subprocess.run(command.split(), capture_output=True, check=False))

    def pings(self, address: str, within_s: float = ANSWER_S) -> bool:
        """Say whether an echo request is answered."""
        program = "ping6" if ":" in address else "ping"
        argv = ["busybox", program, "-c", "1", "-W", f"{math.ceil(within_s)}", address]
        done = self.inside(lambda: subprocess.run(argv, capture_output=True, check=False))
        return done.returncode == 0


class Node(Machine):
    """A host of the cluster: its agent's network runs in a thread of its own inside."""

    def __init__(self, folder: Path, number: int, **said: Any) -> None:
        super().__init__(folder / f"node-{number}.ns")
        self.number, self.name = number, NodeName(f"node-{number}")
        self.subnet, self.gateway = f"198.19.{number}.0/24", f"198.19.{number}.1"
        self._folder, self._said = folder, said
        self.move(f"198.18.0.{number}")

    def move(self, address: str) -> None:
        """Begin as the agent of a host that has this address; it remembers nothing."""
        self.address = address
        self.spec = NodeSpec(name=self.name, address=address, subnet=self.subnet)
        self.settings = Settings(
            node=self.name,
            address=address,
            subnet=self.subnet,
            pool="198.19.0.0/16",
            etcd=EtcdSettings(endpoints=("127.0.0.1:2379",)),
            run_dir=self._folder / f"run-{self.number}",
            host_ports=(f"{METRICS}/tcp",),
            **self._said,
        )
        self.network = NodeNetwork(self.settings, Nftables())

    def does(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns in an event loop inside the node."""

        async def main() -> T:
            return await work()

        return self.inside(lambda: asyncio.run(main()))

    def set_up(self) -> None:
        self.does(self.network.set_up)

    def apply(self, topology: Topology, *, looks: bool = True) -> FabricStatus:
        return self.does(lambda: self.network.apply(topology, looks=looks))


class Container(Machine):
    """A container's namespace."""

    def __init__(self, id_: AllocId, node: Node, asked: Asked, attachment: Attachment) -> None:
        super().__init__(Path(attachment.namespace))
        self.id, self.node, self.asked, self.address = id_, node, asked, attachment.address

    @property
    def six(self) -> str:
        packed = int.from_bytes(socket.inet_aton(self.address))
        return f"fd00:68::{packed >> 16:x}:{packed & 0xFFFF:x}"


class Rig:
    """The segment and what is on it."""

    def __init__(self, folder: Path, count: int, **said: Any) -> None:
        self.folder = folder
        self.nodes = [Node(folder, number, **said) for number in range(1, count + 1)]
        self.stranger = Machine(folder / "stranger.ns")
        self.containers: list[Container] = []
        self.networks: dict[str, Network] = {}
        self.revision, self.vip = 1, ""
        run_all("ip link set lo up", "ip link add switch type bridge", "ip link set switch up")
        for machine, port, address in (
            *((node, f"port{node.number}", node.address) for node in self.nodes),
            (self.stranger, "port9", STRANGER),
        ):
            self._plug(machine, port, address)
        self.stranger.run(f"ip addr add {STRANGER6}/112 dev eth0 nodad")
        for node in self.nodes:
            node.set_up()

    def _plug(self, machine: Machine, port: str, address: str) -> None:
        namespaces.make(machine.pin)
        # An address is used at once, not after a second in which nobody else had it.
        machine.inside(lambda: Path(_DUPLICATES).write_text("0"))
        run_all(
            f"ip link add {port} type veth peer name eth0 netns {machine.pin}",
            f"ip link set {port} mtu {_MTU} master switch up",
        )
        for command in (
            "ip link set lo up",
            f"ip addr add {address}/24 dev eth0",
            f"ip link set eth0 mtu {_MTU} up",
        ):
            machine.run(command)

    def network(self, name: str, *, internal: bool = False, subnet: str = "") -> None:
        self.networks[name] = Network(name=name, internal=internal, subnet=subnet)

    def attach(self, id_: str, number: int, *networks: str, **said: Any) -> Container:
        """Make a container as the leader would have it: all nodes know it before it is there."""
        node, asked = self.nodes[number - 1], Asked(networks=networks, **said)
        alloc = AllocId(id_)
        attachment = node.does(lambda: node.network.attach(alloc, asked))
        node.does(lambda: node.network.admit(alloc))
        self.containers.append(Container(alloc, node, asked, attachment))
        return self.containers[-1]

    def topology(self) -> Topology:
        services = tuple(
            ServiceRoutes(
                service=ServiceName(each.id.split(".")[1]),
                ports=(
                    PublishedPort(published=PUBLISHED, target=80),
                    PublishedPort(published=5353, target=53, protocol=Protocol.UDP),
                ),
                networks=tuple(Joined(network=name) for name in each.asked.networks),
                vip=self.vip,
                endpoints=(
                    Endpoint(
                        allocation=each.id,
                        node=each.node.name,
                        address=each.address,
                        addresses=each.asked.fixed,
                        state=EndpointState.PRESENT,
                    ),
                ),
            )
            for each in self.containers
        )
        routes = Routes(stack=SHOP, services=services, networks=tuple(self.networks.values()))
        return Topology(
            nodes=tuple(node.spec for node in self.nodes),
            routes={SHOP: (Revision(self.revision), routes)},
        )

    def apply(self) -> None:
        """Bring every node up to date; nothing may be in the way."""
        for node in self.nodes:
            status = node.apply(self.topology())
            assert not status.problems, status.problems
            assert status.acked == {SHOP: self.revision}


# ---------------------------------------------------------------- traffic


class Listener:
    """A socket that answers, TCP or UDP, and says who asked."""

    def __init__(self, machine: Machine, address: str, port: int, *, udp: bool = False) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        self.socket = machine.inside(lambda: socket.socket(family, kind))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((address, port))
        if not udp:
            self.socket.listen()
        self.is_udp = udp

    def got(self, within_s: float) -> str | None:
        """Return the address of who came, or None; answers whom it takes."""
        self.socket.settimeout(within_s)
        try:
            if self.is_udp:
                data, sender = self.socket.recvfrom(2000)
                self.socket.sendto(data, sender)
                return str(sender[0])
            taken, sender = self.socket.accept()
            taken.close()
            return str(sender[0])
        except TimeoutError:
            return None

    def close(self) -> None:
        self.socket.close()


def connects(machine: Machine, address: str, port: int, within_s: float) -> bool:
    """Say whether a TCP connection comes about. It needs a listener, whoever accepts."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    client = machine.inside(lambda: socket.socket(family, socket.SOCK_STREAM))
    with client:
        client.settimeout(within_s)
        try:
            client.connect((address, port))
        except (TimeoutError, OSError):
            return False
    return True


def sends(machine: Machine, address: str, port: int, data: bytes = b"x") -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with machine.inside(lambda: socket.socket(family, socket.SOCK_DGRAM)) as client:
        client.sendto(data, (address, port))


def reaches(
    who: Machine,
    target: Machine,
    address: str,
    port: int = 4711,
    *,
    udp: bool = False,
    at: str = "",
) -> str | None:
    """Return the address that `who` has for `target`, which listens; None: it does not get there.

    Args:
        who: connects or sends.
        target: listens.
        address: where `who` means to get.
        port: the same.
        udp: not TCP.
        at: where `target` listens, if not at that address.
    """
    listener = Listener(target, at or address, port, udp=udp)
    return _heard_of(who, listener, (address, port), ANSWER_S)


def is_kept_from(
    who: Machine,
    target: Machine,
    address: str,
    port: int = 4711,
    *,
    udp: bool = False,
    at: str = "",
) -> bool:
    """Say that `who` does not get to `target`, as `reaches` means it.

    A packet that should be lost is followed by nothing, so the test waits a little for it.
    """
    listener = Listener(target, at or address, port, udp=udp)
    return _heard_of(who, listener, (address, port), SILENCE_S) is None


def _heard_of(who: Machine, listener: Listener, to: tuple[str, int], within_s: float) -> str | None:
    try:
        if listener.is_udp:
            sends(who, *to)
            return listener.got(within_s)
        return listener.got(ANSWER_S) if connects(who, *to, within_s) else None
    finally:
        listener.close()


def fits(
    who: Machine, target: Machine, address: str, size: int, within_s: float = ANSWER_S
) -> bool:
    """Say whether an IPv4 packet of that many bytes gets there whole."""
    listener = Listener(target, address, 4712, udp=True)
    client = who.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    try:
        client.setsockopt(socket.IPPROTO_IP, _MTU_DISCOVER, _DO_NOT_FRAGMENT)
        client.sendto(bytes(size - _HEADERS), (address, 4712))
        return listener.got(within_s) is not None
    except OSError as error:
        if error.errno != errno.EMSGSIZE:
            raise
        return False
    finally:
        client.close()
        listener.close()
