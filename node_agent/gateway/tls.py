"""Which certificate serves which host, and how HAProxy is told.

Pure. Files are called by what they serve: another choice is another file, so that a certificate
is changed in place and a choice is changed by adding and removing.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from shared.pair import Pair

_DIGEST_CHARACTERS: Final = 20
_DONE: Final = (
    "Success!",
    "ransaction created",
    "ransaction updated",
    "New empty certificate store",
    "deleted",
)


class Loaded(msgspec.Struct, frozen=True):
    """One file of HAProxy's list. `pem` is never shown."""

    hosts: tuple[str, ...]
    pem: str

    def __repr__(self) -> str:
        return f"Loaded({', '.join(self.hosts)})"


def choose(certificates: Mapping[str, Pair]) -> dict[str, Loaded]:
    """Return file name -> what it serves.

    Of two for one host the one that ends last is chosen; whatever order they came in.
    """
    owner: dict[str, str] = {}
    for name, pair in sorted(certificates.items(), key=lambda one: (one[1].not_after_s, one[0])):
        owner.update(dict.fromkeys(pair.hosts, name))
    found: dict[str, Loaded] = {}
    for name, pair in certificates.items():
        hosts = tuple(sorted(host for host, one in owner.items() if one == name))
        if hosts:
            found[_file(name, hosts)] = Loaded(hosts, pair.key + pair.chain)
    return found


def _file(name: str, hosts: Iterable[str]) -> str:
    said = "\n".join((name, *hosts))
    return hashlib.sha256(said.encode()).hexdigest()[:_DIGEST_CHARACTERS] + ".pem"


def digest(pem: str) -> str:
    """Return what tells one content from another."""
    return hashlib.sha256(pem.encode()).hexdigest()


def listed(folder: str, files: Mapping[str, Loaded]) -> str:
    """Return HAProxy's list."""
    return "".join(_line(folder, name, one) for name, one in sorted(files.items()))


def _line(folder: str, name: str, one: Loaded) -> str:
    return f"{folder}/{name} {' '.join(one.hosts)}\n"


def adding(folder: str, list_: str, name: str, one: Loaded, has: "Has") -> list[str]:
    """Return the commands that make HAProxy show a certificate; each is sent by itself."""
    path = f"{folder}/{name}"
    new = [] if name in has.files else [f"new ssl cert {path}"]
    change = [f"set ssl cert {path} <<\n{one.pem}", f"commit ssl cert {path}"]
    if has.files.get(name) == digest(one.pem):
        change = []
    line = _line(folder, name, one)
    return new + change + ([] if name in has.listed else [f"add ssl crt-list {list_} <<\n{line}"])


def removing(folder: str, list_: str, name: str, has: "Has") -> list[str]:
    """Return the commands that make HAProxy forget a certificate."""
    path = f"{folder}/{name}"
    first = [f"del ssl crt-list {list_} {path}"] if name in has.listed else []
    return [*first, f"del ssl cert {path}"]


class Has(msgspec.Struct, frozen=True):
    """What HAProxy has.

    Attributes:
        files: name -> digest of what is in it; empty where that is not known.
        listed: those of them that it shows.
    """

    files: Mapping[str, str] = {}
    listed: frozenset[str] = frozenset()


def has(folder: str, certificates: str, shown: str) -> Has:
    """Return what HAProxy has, from `show ssl cert` and `show ssl crt-list`."""
    prefix = f"{folder}/"
    files = {
        line.strip().lstrip("*").removeprefix(prefix): ""
        for line in certificates.splitlines()
        if line.strip().lstrip("*").startswith(prefix)
    }
    listed_ = {
        line.split()[0].removeprefix(prefix)
        for line in shown.splitlines()
        if line.startswith(prefix)
    }
    return Has(files, frozenset(listed_ & files.keys()))


def is_done(answer: str) -> bool:
    """Say whether HAProxy did what it was told about a certificate."""
    return any(word in answer for word in _DONE)
