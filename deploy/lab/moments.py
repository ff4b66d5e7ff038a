"""One line of a story that the demo tells.

Pure.
"""

from shared.model import Record


class Moment(Record, frozen=True, kw_only=True):
    """What happened when. `after_s` counts from the story's begin; None: it did not happen."""

    what: str
    after_s: float | None
    detail: str = ""
