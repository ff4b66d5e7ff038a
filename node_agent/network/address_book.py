"""Which container of this node has which addresses: a small file each, and a pinned namespace.

They lie under the run directory, which a reboot empties with the kernel. Blocking.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from node_agent.network.cluster import Local
from node_agent.network.network import NONE, Asked
from shared.errors import AddressTakenError, RuntimeFailureError
from shared.model import AllocId, NodeName
from shared.subnets import capacity_of, is_container_of, pick

_JSON: Final = b"{"


class AddressBook:
    """Hands out a node's addresses; no two containers have one at the same time.

    Args:
        run_dir: of this boot only.
        subnet: addresses are from it.
        node: for messages.
    """

    def __init__(self, run_dir: Path, subnet: str, node: NodeName) -> None:
        self._files, self._pins = run_dir / "network", run_dir / "netns"
        self._last = run_dir / "network.last"
        self._subnet, self._node = subnet, node
        # What was read last, and written since; nobody else writes.
        self._known: Mapping[AllocId, Local] = {}
        self.look()

    def all(self) -> dict[AllocId, Local]:
        """Return every container that has a namespace, or will have."""
        return dict(self._known)

    def look(self) -> dict[AllocId, Local]:
        """Return the same, read anew."""
        paths = sorted(self._files.iterdir()) if self._files.exists() else ()
        read = ((AllocId(path.name), _read(path)) for path in paths)
        self._known = {id_: local for id_, local in read if local is not None}
        return self.all()

    def of(self, id_: AllocId) -> Local | None:
        """Return what a container has; None: nothing."""
        return _read(self._files / id_)

    def take(self, id_: AllocId, asked: Asked) -> Local:
        """Return what a container has, taken now if it has nothing.

        Raises:
            AddressTakenError: an address is another's.
            RuntimeFailureError: it is not this node's, or none is free.
        """
        there, others = self.of(id_), self.all()
        others.pop(id_, None)
        taken = {address: other for other, each in others.items() for address in each.addresses}
        if asked.mode == NONE:
            local = Local(address="", networks=())
        else:
            own = there.address if there is not None else self._choose(asked.address, taken)
            local = Local(address=own, fixed=asked.fixed, networks=asked.networks)
        for address in local.addresses:
            if address in taken:
                raise AddressTakenError(
                    f"address {address} is still that of {taken[address]} on {self._node};"
                    " it is free once that container is removed"
                )
        if local != there:
            self.put(id_, local)
        return local

    def put(self, id_: AllocId, local: Local) -> None:
        """Write down what a container has."""
        self._files.mkdir(parents=True, exist_ok=True, mode=0o700)
        _replace(self._files / id_, msgspec.json.encode(local))
        self._known = {**self._known, id_: local}

    def free(self, id_: AllocId) -> None:
        """Let go of what a container had."""
        (self._files / id_).unlink(missing_ok=True)
        self._known = {other: local for other, local in self._known.items() if other != id_}

    def pin(self, id_: AllocId) -> Path:
        """Return where its namespace is pinned."""
        return self._pins / short(id_)

    def _choose(self, asked: str, taken: dict[str, AllocId]) -> str:
        if asked:
            if not is_container_of(self._subnet, asked):
                raise RuntimeFailureError(
                    f"address {asked} is none of {self._subnet}, which {self._node} has for its"
                    " containers: its subnet was changed after the leader chose"
                )
            return asked
        last = self._last.read_text() if self._last.exists() else ""
        address = pick(self._subnet, taken, last)
        if address is None:
            raise RuntimeFailureError(
                f"no address is free on {self._node}: all {capacity_of(self._subnet)}"
                f" of {self._subnet} are taken"
            )
        self._files.mkdir(parents=True, exist_ok=True, mode=0o700)
        _replace(self._last, address.encode())
        return address


def link_name(id_: AllocId) -> str:
    """Return the name of the node's end of a container's link."""
    return f"h{short(id_)}"


def short(id_: AllocId) -> str:
    """Return a name of 12 characters: the kernel allows 15 for a link."""
    return hashlib.blake2s(id_.encode(), digest_size=6).hexdigest()


def _read(path: Path) -> Local | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    if path.name.startswith(".."):
        return None  # Half-written when the agent was killed.
    if data and not data.startswith(_JSON):
        return Local(address=data.decode())  # an older version's
    try:
        return msgspec.json.decode(data, type=Local)
    except msgspec.DecodeError:
        return None


def _replace(path: Path, content: bytes) -> None:
    # No fsync: a reboot empties the run directory, and what it describes, anyway.
    temporary = path.with_name(f"..{path.name}")
    temporary.write_bytes(content)
    temporary.replace(path)
