"""The system call filter of each set of capabilities: worked out once, compiled once."""

from typing import Final

import msgspec

from node_agent.oci import seccomp, spec

# Services ask for few different sets; a node that has seen more than this has seen mischief.
_SETS_MAX: Final = 64


class Filter(msgspec.Struct, frozen=True):
    """A filter, and the same compiled, in base64; empty while nobody has compiled it."""

    rules: spec.Seccomp
    compiled: str = ""


class Filters:
    """The filters of this machine."""

    def __init__(self, profile: seccomp.Profile, machine: seccomp.Machine) -> None:
        self._profile, self._machine = profile, machine
        self._known: dict[tuple[str, ...], Filter] = {}

    def of(self, capabilities: tuple[str, ...]) -> Filter:
        """Return the filter of containers that have these capabilities."""
        found = self._known.get(capabilities)
        if found is None:
            found = Filter(seccomp.resolve(self._profile, self._machine, capabilities))
            if len(self._known) >= _SETS_MAX:
                self._known.clear()
            self._known[capabilities] = found
        return found

    def learn(self, capabilities: tuple[str, ...], compiled: str) -> None:
        """Keep what the runtime compiled for one container for the others that are alike."""
        found = self.of(capabilities)
        self._known[capabilities] = msgspec.structs.replace(found, compiled=compiled)
