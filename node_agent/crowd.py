"""Whether so many nodes have a session that what nobody claims was let go, and not lost.

Pure but for what it remembers.
"""


class Crowd:
    """Follows how many of the cluster's nodes have a session.

    Args:
        hold_s: for how long one whose session has ended may go on.

    Attributes:
        trusted_from: by the boot clock, when an absent claim says that its lease ran out; None: not
            while half of the nodes or more have no session.
    """

    def __init__(self, hold_s: float) -> None:
        self._hold_s = hold_s
        self.trusted_from: float | None = None

    def learn(self, now: float, *, present: int, nodes: int) -> bool:
        """Learn how many there are, and have a session; say whether most have one now, or not now.

        Two cannot be told apart from half; their sessions' leases alone must do.
        """
        before = self.trusted_from
        is_here = present * 2 > nodes or (nodes <= 2 and present > 0)  # noqa: PLR2004 - a pair
        if not is_here:
            self.trusted_from = None
        elif before is None:
            self.trusted_from = now + self._hold_s
        return is_here != (before is not None)
