"""Every exception that hafen raises on purpose, as a tree.

Pure. Each class says in its docstring what to do; `exit_code` is what the command line ends with.

    HafenError                      exit 1
    ├── InvalidTransitionError      a bug: let the process end
    ├── CodecError                  a record that cannot be read: name the key, leave it alone
    ├── SpecError                   exit 2: the person's file or flag is wrong
    ├── SettingsError               exit 2: the host's configuration is wrong
    ├── NotFoundError               exit 3: no such stack, node, service
    ├── HostError                   exit 4: this machine lacks something (root, a program, a port)
    ├── ConvergenceError            exit 6: accepted, but did not come up; says what blocks it
    │   └── UnplaceableError        exit 6: refused before it was stored: no node takes a slot of it
    ├── RolledBackError             exit 7: it did not come up, and the version before runs again
    ├── RuntimeFailureError         a container action failed; reported, then decided again
    │   ├── ImageError              the image cannot be had
    │   ├── FuseBurntError          nothing exclusive may begin now: decide again
    │   ├── AddressTakenError       who has the address is still ending: same call again, later
    │   └── ContentsGoneError       a reboot took a container's secrets: give them anew
    ├── SealError                   what was sealed cannot be opened: another cluster's key
    └── StoreError                  exit 5
        ├── UnavailableError        same call again, later
        ├── AmbiguousError          the write may have happened: read, then decide again
        ├── CompactedError          list again, then watch
        ├── ConflictError           read again, decide again
        ├── OvertakenError          somebody else was faster: look, then decide again
        ├── FencedError             stop: someone newer leads
        ├── LeaseLostError          what hung on the lease is gone: begin again
        └── DeniedError             the credentials are not allowed this
"""

from typing import ClassVar


class HafenError(Exception):
    """Base of all. The message is one line for a person: what, where, what to do."""

    exit_code: ClassVar[int] = 1


class InvalidTransitionError(HafenError):
    """A state would move along an edge that the table does not have."""

    def __init__(self, current: str, target: str) -> None:
        super().__init__(f"{current} cannot become {target}")
        self.current, self.target = current, target


class CodecError(HafenError):
    """Bytes from outside are not the record they should be.

    Attributes:
        where: the key or the peer they came from.
    """

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}")
        self.where, self.why = where, why


class SpecError(HafenError):
    """The person's file or flag is wrong; the message starts with file:line where there is one."""

    exit_code: ClassVar[int] = 2


class SettingsError(HafenError):
    """The host's configuration is wrong; the message names file and key."""

    exit_code: ClassVar[int] = 2


class NotFoundError(HafenError):
    """What was named does not exist; the message says what does."""

    exit_code: ClassVar[int] = 3


class HostError(HafenError):
    """This machine lacks something; the message says which package, right or port."""

    exit_code: ClassVar[int] = 4


class ConvergenceError(HafenError):
    """The cluster accepted a change, but it did not come up in time.

    The message says what blocks it.
    """

    exit_code: ClassVar[int] = 6


class UnplaceableError(ConvergenceError):
    """A slot of what was to be deployed would have no node; nothing was stored.

    The message has each node's refusal with its numbers.
    """


class RolledBackError(HafenError):
    """A change did not come up, and what ran before runs again; the message says what was wrong."""

    exit_code: ClassVar[int] = 7


class RuntimeFailureError(HafenError):
    """A container could not be created, started, stopped or removed."""


class ImageError(RuntimeFailureError):
    """An image cannot be had. The message names the image and the registry's answer."""


class FuseBurntError(RuntimeFailureError):
    """Nothing exclusive may begin on this node now; it is no fault of the container's."""


class AddressTakenError(RuntimeFailureError):
    """A container's address is still another's of its node; the same call works once that is gone.

    The message names the other one.
    """


class ContentsGoneError(RuntimeFailureError):
    """A container's secrets are gone: they lay in memory. `Runtime.create` brings them back."""


class SealError(HafenError):
    """What was sealed was sealed with another key, for another name, or was changed since.

    All hosts of a cluster need the same key; what was sealed with a lost one must be deployed anew.
    """


class StoreError(HafenError):
    """Something between us and etcd."""

    exit_code: ClassVar[int] = 5


class UnavailableError(StoreError):
    """No member answered in time and nothing was written. The same call may be sent again."""


class AmbiguousError(StoreError):
    """A write may or may not have been applied.

    Read, then decide again; never send it again blindly.
    """


class CompactedError(StoreError):
    """The history after a revision is gone. List again.

    Attributes:
        revision: the oldest revision that etcd still has.
    """

    def __init__(self, revision: int) -> None:
        super().__init__(f"history before revision {revision} is compacted")
        self.revision = revision


class ConflictError(StoreError):
    """A transaction lost its race: a key it compared has changed since it was read.

    Recover by reading and deciding again. Sending the same write again would undo the winner's.

    Attributes:
        key: the first compared key that had moved.
        expected: its revision when it was read; 0 if it was absent.
        found: its revision now; 0 if it is absent.
    """

    def __init__(self, key: str, *, expected: int, found: int) -> None:
        super().__init__(f"{key} is at revision {found}, not {expected}")
        self.key, self.expected, self.found = key, expected, found


class OvertakenError(StoreError):
    """What a change was based on is no longer so; nothing was written.

    The message says who was faster. Whoever decided should look before deciding again.
    """


class FencedError(StoreError):
    """A leader's write was refused because it no longer leads. Stop leading.

    Attributes:
        fence: the token that was compared.
    """

    def __init__(self, fence: int) -> None:
        super().__init__(f"no longer leading with fence {fence}")
        self.fence = fence


class LeaseLostError(StoreError):
    """A lease ended, or may have ended by our own clock."""


class DeniedError(StoreError):
    """etcd refused the credentials, or they are not allowed this key."""
