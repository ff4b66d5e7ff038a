"""How many words it takes to give up a host, and how many hosts nobody believes to be gone at once.

Pure. The leader re-places work by this rule, and agents take floating addresses over by it: both
must come to the same end.
"""

from typing import Final

# Every node is watched by so many peers, or by all others where there are fewer. A majority is two:
# one watcher that is itself cut off can neither raise an alarm nor prevent one.
WATCHERS: Final = 3
# A majority of three; of two, both. A single peer never convicts: the fault may be its own.
VOTES_NEEDED: Final = WATCHERS // 2 + 1
# From half of the cluster on, it is likelier that we, or the network, are cut off than that so many
# hosts died at once. In a large cluster a quarter is already more than dies by accident.
_HALF: Final = 2
_QUARTER: Final = 4
_LARGE_NODES: Final = 9
# Below this many nodes a majority cannot be told from a minority.
_BRAKE_NODES_MIN: Final = 3


def is_mass(troubled: int, total: int) -> bool:
    """Say whether too many nodes are in trouble at once to believe it of each."""
    share = _QUARTER if total >= _LARGE_NODES else _HALF
    return total >= _BRAKE_NODES_MIN and troubled * share >= total
