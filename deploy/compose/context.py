"""What a service's keys are read against: the project around it.

Pure.
"""

from collections.abc import Mapping as Lookup

import msgspec

from deploy.compose import dotenv
from deploy.compose.errors import RefusedError
from deploy.compose.fields import Cursor
from deploy.compose.library import Library
from deploy.compose.networks import Declared


class Context(msgspec.Struct, frozen=True):
    """The project of a service.

    Attributes:
        folder: absolute; the project's.
        variables: for names in `environment` that have no value.
        volumes: key at the top -> name in the cluster.
        configs, secrets: key at the top -> name of the content.
        networks: those that services may name, by key.
    """

    stack: str
    folder: str
    variables: Lookup[str, str]
    library: Library
    volumes: Lookup[str, str] = {}
    configs: Lookup[str, str] = {}
    secrets: Lookup[str, str] = {}
    networks: Lookup[str, Declared] = {}

    def pairs_of(self, path: str, at: Cursor, *, is_raw: bool = False) -> dict[str, str]:
        """Return what a file of NAME=value sets.

        Raises:
            RefusedError: it cannot be read.
        """
        text = self.library.text(path, at.mark, at.path)
        if "\0" in text:
            raise RefusedError(at.refuse(f"{self.library.shown(path)} holds a NUL"))
        read = dotenv.raw if is_raw else dotenv.own
        return read(text, self.library.shown(path), self.variables, at.problems)
