"""How much a stack may ask for: who reads a file and who takes the request refuse the same.

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
