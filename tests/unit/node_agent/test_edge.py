"""Certificates and proofs that this host cannot read, and what is in force meanwhile."""

from pathlib import Path

import msgspec

from node_agent.edge import EdgeView
from scheduler.issuing.authority import issue, make_authority
from shared import codec, keys
from shared.model import Certificate, Challenge, Origin, Revision
from shared.seal import KEY_BYTES, NONCE_BYTES, seal
from shared.store import KeyValue, Snapshot

NOW_S = 1_763_000_000.0
SHOP = keys.certificate("shop")
SECRET = b"k" * KEY_BYTES
WISH = Certificate(name="shop", hosts=("shop.example",), origin=Origin.CLUSTER)
AUTHORITY = make_authority("test", NOW_S)


class Edge:
    """What etcd shows, and what this host makes of it."""

    def __init__(self, folder: Path) -> None:
        self.key = folder / "secrets.key"
        self.key.touch(mode=0o600)
        self.key.write_bytes(SECRET)
        self.view = EdgeView(lambda: None, self.key)

    def show(self, revision: int, value: bytes) -> None:
        item = KeyValue(SHOP, value, Revision(1), Revision(revision))
        for range_, view in self.view.followed():
            items = (item,) if range_.key == keys.CERTIFICATES else ()
            view.replace(Snapshot(items, Revision(revision)))

    @property
    def chain(self) -> str:
        """Return what of the certificate is in force."""
        found = self.view.read()
        assert found is not None
        return found.certificates[SHOP].chain if SHOP in found.certificates else ""


def certificate() -> tuple[str, bytes]:
    """Return the chain of a new one, and its record."""
    made = issue(AUTHORITY, ("shop.example",), NOW_S, 90)
    sealed = seal(SECRET, SHOP, made.key.encode(), b"n" * NONCE_BYTES)
    return made.chain, codec.encode(msgspec.structs.replace(WISH, chain=made.chain, sealed=sealed))


def test_a_certificate_that_cannot_be_read_is_a_problem_at_every_look(tmp_path: Path) -> None:
    edge = Edge(tmp_path)
    chain, record = certificate()
    edge.show(2, record)
    assert (edge.chain, edge.view.problems) == (chain, ())
    edge.show(3, b"{")
    for _ in range(2):
        assert edge.chain == chain
        (problem,) = edge.view.problems
        assert problem.startswith("certificates/shop: ")


def test_a_new_certificate_is_opened_as_soon_as_this_host_has_its_key(tmp_path: Path) -> None:
    edge = Edge(tmp_path)
    (before, record), (after, renewed) = certificate(), certificate()
    edge.show(2, record)
    assert edge.chain == before
    away = edge.key.rename(tmp_path / "away")
    edge.show(3, renewed)
    for _ in range(2):
        assert edge.chain == before
        assert len(edge.view.problems) == 1
    away.rename(edge.key)
    assert (edge.chain, edge.view.problems) == (after, ())


def test_what_has_no_chain_yet_is_no_certificate_and_no_problem(tmp_path: Path) -> None:
    edge = Edge(tmp_path)
    _, record = certificate()
    edge.show(2, record)
    edge.show(3, codec.encode(WISH))
    assert (edge.chain, edge.view.problems) == ("", ())


def test_a_proof_that_cannot_be_read_is_a_problem_and_the_others_are_answered(
    tmp_path: Path,
) -> None:
    edge = Edge(tmp_path)
    good = codec.encode(Challenge(token="a", answer="a.b"))  # noqa: S106 - no secret
    shown = {keys.challenge("a"): good, keys.challenge("b"): b"{}"}
    for range_, view in edge.view.followed():
        items = [KeyValue(key, value, Revision(1), Revision(1)) for key, value in shown.items()]
        is_proofs = range_.key == keys.CHALLENGES
        view.replace(Snapshot(tuple(items) if is_proofs else (), Revision(1)))
    extras = edge.view.read()
    assert extras is not None
    assert extras.challenges == {"a": "a.b"}
    (problem,) = edge.view.problems
    assert problem.startswith("challenges/b: ")
