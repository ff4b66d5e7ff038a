"""What a node's containers have that others cannot have at the same time.

That is generic devices and named volumes. There is no list of it: what is held is what the records
of whole containers say, and what is being made right now.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from node_agent.oci import devices
from node_agent.oci.files import read_record
from shared.errors import RuntimeFailureError
from shared.model import AllocId, Assignment, MountKind, Workload


class _Held(NamedTuple):
    workload: Workload
    devices: tuple[str, ...]


class Holdings:
    """Who has what.

    Args:
        data: the directory with the containers' data.
        there: paths of the node's generic devices by kind.
    """

    def __init__(self, data: Path, there: Mapping[str, tuple[str, ...]]) -> None:
        self._data, self._there = data, there
        self._making: dict[AllocId, _Held] = {}

    @contextlib.contextmanager
    def making(self, assignment: Assignment) -> Iterator[tuple[str, ...]]:
        """Hold what a container needs while it is made; give its generic devices.

        Raises:
            RuntimeFailureError: too few devices are free; with the numbers.
        """
        wanted = assignment.workload.reservations.devices
        taken = (path for _, each in self._held() for path in each.devices) if wanted else ()
        got = devices.free(wanted, self._there, taken)
        self._making[assignment.id] = _Held(assignment.workload, got)
        try:
            yield got
        finally:
            del self._making[assignment.id]

    def check_unused(self, volume: str) -> None:
        """Refuse to touch a volume that a container has.

        Raises:
            RuntimeFailureError: names the container.
        """
        for id_, each in self._held():
            if volume in _volumes(each.workload):
                raise RuntimeFailureError(f"volume {volume}: {id_} still uses it")

    def _held(self) -> Iterator[tuple[AllocId, _Held]]:
        yield from self._making.items()
        for home in sorted(self._data.iterdir()):
            record = read_record(home)
            if record is not None:
                yield record.assignment.id, _Held(record.assignment.workload, record.devices)


def _volumes(workload: Workload) -> frozenset[str]:
    return frozenset(
        each.source for each in workload.mounts if each.kind is MountKind.VOLUME and each.source
    )
