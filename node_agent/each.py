"""What follows from each of many objects that never change, found once.

Pure. `OfEach` remembers what it found, as long as the objects are the same.
"""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K")
T = TypeVar("T")


class OfEach(Generic[K, T]):
    """Remembers what is found for frozen objects, for as long as they are asked about.

    Args:
        find: returns it for one of them.
    """

    def __init__(self, find: Callable[[K], T]) -> None:
        self._find = find
        # With each the object itself: as long as it is here, no other one has its number.
        self._known: dict[int, tuple[K, T]] = {}

    def of(self, all_: Iterable[K]) -> list[T]:
        """Return what is found for each, in their order."""
        known = self._known
        pairs = [known.get(id(each)) or (each, self._find(each)) for each in all_]
        self._known = {id(pair[0]): pair for pair in pairs}
        return [found for _, found in pairs]
