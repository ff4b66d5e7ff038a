"""Shortens the tests of the Compose loader: text in, services or lines of problems out."""

from textwrap import dedent, indent

import pytest

from deploy.compose.errors import Problems
from deploy.compose.steps import understand
from shared.errors import SpecError
from shared.model import ServiceSpec, Workload


def services(*texts: str, **variables: str) -> dict[str, ServiceSpec]:
    """Return the services of one or several Compose files, by name."""
    files = [("compose.yaml", dedent(text).encode()) for text in texts]
    found = understand(files, variables, Problems()).file.services
    return {spec.name: spec for spec in found}


def web(body: str, **variables: str) -> ServiceSpec:
    """Return the service that has an image and what `body` says."""
    return services(_around(body), **variables)["web"]


def workload(body: str, **variables: str) -> Workload:
    """Return the workload of the service that has an image and what `body` says."""
    return web(body, **variables).workload


def problems(*texts: str, **variables: str) -> list[str]:
    """Return the lines of the refusal of one or several Compose files: a.yaml, b.yaml, ..."""
    files = [
        (f"{letter}.yaml", dedent(text).encode())
        for letter, text in zip("abcdef", texts, strict=False)
    ]
    with pytest.raises(SpecError) as refusal:
        understand(files, variables, Problems())
    return str(refusal.value).splitlines()


def web_problems(body: str, **variables: str) -> list[str]:
    """Return what is wrong with a service that has an image and what `body` says, without `where`.

    Every line must be about the service; file, line and the path above the service are cut off.
    """
    lines = problems(_around(body), **variables)
    return [line.split("services.web", maxsplit=1)[1].lstrip(".") for line in lines]


def _around(body: str) -> str:
    top = "services:\n  web:\n    image: app:1\n"
    return top + indent(dedent(body).strip("\n"), "    ") + "\n"
