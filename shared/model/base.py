"""What every record is made of: names, revisions, amounts.

Pure.
"""

from collections.abc import Mapping
from typing import Final, NewType

import msgspec

NodeName = NewType("NodeName", str)
StackName = NewType("StackName", str)
ServiceName = NewType("ServiceName", str)
AllocId = NewType("AllocId", str)
Revision = NewType("Revision", int)

# A document larger than this is refused before it is written: etcd's own limit is 1.5 MiB per
# request.
DOCUMENT_BYTES_MAX: Final = 1024 * 1024


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Base of everything that is stored or sent; compares by value.

    What is frozen makes no cycles: the collector, which would look through tens of thousands of
    records while everybody waits, need not know of them.
    """


class Resources(Record, frozen=True, kw_only=True):
    """Amounts of what a node has and a container takes. 0 as a limit means: no limit.

    `devices` counts generic resources by kind, such as gpu.
    """

    cpu_millis: int = 0
    memory_bytes: int = 0
    pids: int = 0
    devices: Mapping[str, int] = {}
