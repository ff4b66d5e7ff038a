"""What the API and the agents answer about images that are brought without a registry.

Pure. A failure is a `problem` and not an `error`: in a stream that word ends it (ErrorBody).
"""

from collections.abc import Mapping

from shared.model import NodeName, Record


class ImageHeld(Record, frozen=True, kw_only=True):
    """An image is on a node; `image` is its full name."""

    image: str


class ImagePush(Record, frozen=True, kw_only=True):
    """How bringing an image to one node ended; the last line of the stream is the sum.

    Attributes:
        node: None: the sum of all nodes.
        image: its full name; empty: the node does not have it.
        seconds: how long it took.
        problem: why the node does not have it; empty: it has it.
        have, asked: of the sum: how many nodes have the image, of how many.
    """

    node: NodeName | None = None
    image: str = ""
    seconds: float = 0.0
    problem: str = ""
    have: int = 0
    asked: int = 0


class ImageHolders(Record, frozen=True, kw_only=True):
    """Which sound nodes have an image, sorted.

    Attributes:
        lacking: why for each node that does not have it, or that does not say.
    """

    holders: tuple[NodeName, ...]
    lacking: Mapping[NodeName, str] = {}
