"""Shortens the tests of the Compose loader: text in, services or lines of problems out."""

from collections.abc import Iterable, Mapping, Sequence
from textwrap import dedent, indent

import pytest

from deploy.compose.errors import Problems
from deploy.compose.library import Library
from deploy.compose.steps import Asked, Understood, understand
from shared.errors import SpecError
from shared.model import ServiceSpec, Workload

FOLDER = "/shop"


def understood(
    *texts: str,
    beside: Mapping[str, str] | None = None,
    profiles: Iterable[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Understood:
    """Return what one or several Compose files say, all called compose.yaml.

    Args:
        texts: of the files.
        beside: further files, by their path below the project's folder.
        profiles: the active ones.
        variables: for `${...}`.
    """
    files = [("compose.yaml", dedent(text).encode()) for text in texts]
    return files_understood(files, beside or {}, variables or {}, profiles)


def files_understood(
    files: Sequence[tuple[str, bytes]],
    beside: Mapping[str, str],
    variables: Mapping[str, str],
    profiles: Iterable[str] = (),
) -> Understood:
    """Return what files say: name and content of those given, and of those beside them."""
    found = {f"{FOLDER}/{name}": dedent(text).encode() for name, text in beside.items()}

    def fetch(path: str, most: int) -> bytes:
        if path not in found:
            raise FileNotFoundError(2, "No such file or directory")
        return found[path][:most]

    problems_ = Problems()
    paths = {f"{FOLDER}/{name}": name for name, _ in files}
    named = [(f"{FOLDER}/{name}", content) for name, content in files]
    asked = Asked(FOLDER, variables, None, frozenset(profiles))
    return understand(named, asked, Library(fetch, problems_, paths), problems_)


def services(*texts: str, **variables: str) -> dict[str, ServiceSpec]:
    """Return the services of one or several Compose files, by name."""
    return {spec.name: spec for spec in understood(*texts, variables=variables).decoded.services}


def web(body: str, **variables: str) -> ServiceSpec:
    """Return the service that has an image and what `body` says."""
    return services(_around(body), **variables)["web"]


def workload(body: str, **variables: str) -> Workload:
    """Return the workload of the service that has an image and what `body` says."""
    return web(body, **variables).workload


def problems(*texts: str, **variables: str) -> list[str]:
    """Return the lines of the refusal of one or several Compose files: a.yaml, b.yaml, ..."""
    return problems_beside({}, *texts, variables=variables)


def problems_beside(
    beside: Mapping[str, str],
    *texts: str,
    variables: Mapping[str, str] | None = None,
    profiles: Iterable[str] = (),
) -> list[str]:
    """Return what `problems` returns, where there are further files."""
    files = [
        (f"{letter}.yaml", dedent(text).encode())
        for letter, text in zip("abcdef", texts, strict=False)
    ]
    with pytest.raises(SpecError) as refusal:
        files_understood(files, beside, variables or {}, profiles)
    return str(refusal.value).splitlines()


def web_warnings(body: str, **variables: str) -> list[str]:
    """Return the warnings about a service that has an image and what `body` says."""
    lines = understood(_around(body), variables=variables).warnings
    return [line.split("services.web", maxsplit=1)[1].lstrip(".") for line in lines]


def web_problems(body: str, **variables: str) -> list[str]:
    """Return what is wrong with a service that has an image and what `body` says, without `where`.

    Every line must be about the service; file, line and the path above the service are cut off.
    """
    lines = problems(_around(body), **variables)
    return [line.split("services.web", maxsplit=1)[1].lstrip(".") for line in lines]


def _around(body: str) -> str:
    top = "services:\n  web:\n    image: app:1\n"
    return top + indent(dedent(body).strip("\n"), "    ") + "\n"


def network_file(network: str, part: str = "") -> str:
    """Return a file with a network `net` and a service on it; both may say more."""
    return f"""\
services:
  web:
    image: app
    networks: {{net: {part}}}
networks:
  net: {network}
"""


def network_warnings(network: str, part: str = "") -> list[str]:
    """Return the warnings about a network and a service's part in it, without the file."""
    return [
        line.removeprefix("compose.yaml:")
        for line in understood(network_file(network, part)).warnings
    ]
