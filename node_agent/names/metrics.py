"""A name server's counts as figures in Prometheus' format.

Pure.
"""

from collections.abc import Mapping
from typing import Final

NAME: Final = "hafen_names_questions_total"


def rendered(counts: Mapping[str, int]) -> str:
    """Return one sample for each kind of what became of a question."""
    lines = (
        f"# HELP {NAME} Questions to the name server since it began, by what became of them.",
        f"# TYPE {NAME} counter",
        *(f'{NAME}{{kind="{kind}"}} {count}' for kind, count in sorted(counts.items())),
    )
    return "".join(f"{line}\n" for line in lines)
