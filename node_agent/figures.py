"""A node's figures in Prometheus' format, from all of its parts that have some."""

from collections.abc import Awaitable, Callable

from shared.errors import UnavailableError

Figures = Callable[[], Awaitable[str]]


def together(*parts: Figures) -> Figures:
    """Return what asks all of `parts`; one that does not answer hides no other one's figures."""

    async def figures() -> str:
        found: list[str] = []
        silent: list[str] = []
        for part in parts:
            try:
                found.append(await part())
            except UnavailableError as error:
                silent.append(str(error))
        if not found:
            raise UnavailableError("; ".join(silent))
        return "".join(found)

    return figures
