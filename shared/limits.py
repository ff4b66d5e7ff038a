"""How much may be asked for: who reads a file or a command and who takes it refuse the same.

Pure.
"""

from typing import Final

# Of a service: a larger number is a slip of the finger on a few hundred hosts.
REPLICAS_MAX: Final = 1000
# Each is a container that is kept on a node of its own.
STANDBY_MAX: Final = 100
# Of a stack: each is a set of addresses in the kernel of every node.
NETWORKS_MAX: Final = 100
# Of a service on one network: each is a name that every name server knows.
ALIASES_MAX: Final = 64
# Lines of a log: who wants more has a file's worth, and whoever sends them holds them all.
TAIL_MAX: Final = 100_000
