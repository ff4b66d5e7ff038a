"""How several things are said in one sentence.

Pure.
"""

from collections.abc import Sequence
from typing import Final

# As many names as a person reads.
_SHOWN_MAX: Final = 4


def listed(names: Sequence[str], most: int = _SHOWN_MAX) -> str:
    """Return the first few of `names`, and how many more there are: "a, b and 3 more"."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
