"""The bugs that the simulation must find: each takes away one thing that safety rests on.

None of them touches production code: they lie in the timings that it is given and in the store
that it uses.
"""

import enum
from typing import Final

import msgspec

from shared.settings import Settings
from shared.timing import Timing


class Bug(enum.StrEnum):
    """What is wrong on purpose."""

    NONE = "none"
    NO_MARGIN = "the fuse burns late and nobody waits for it"
    NO_FENCE = "a leader's writes do not compare its fence"
    ONE_WATCHER = "one watcher's word counts as that of all"
    LATE_WATCH = "a watch that broke goes on one revision too late"
    NO_CLAIM = "exclusive work is started without its claim"


# What a scheduler never sees breaks no promise of safety: the cluster comes to no rest.
RESTLESS: Final = (Bug.NONE, Bug.LATE_WATCH)


class WithoutMargin(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings whose fuse does not end before its lease."""

    @property
    def timing(self) -> Timing:
        """Return the profile's timings without the margins."""
        # A fuse that burns exactly with its lease is mostly saved by etcd, which ends leases up to
        # half a second late: the margin is for the rest. Here it is more than wrong, to be found.
        return msgspec.structs.replace(super().timing, fence_margin_s=-1.5, claim_margin_s=0.0)


def settings_class(bug: Bug) -> type[Settings]:
    """Return the class of a host's settings."""
    return WithoutMargin if bug is Bug.NO_MARGIN else Settings
