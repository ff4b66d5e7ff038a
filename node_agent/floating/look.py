"""What this node knows of all floating addresses, and since when: views, and a memory of them."""

from collections.abc import Callable, Mapping
from typing import Final

from node_agent.crowd import Crowd
from node_agent.floating.convicted import Convicted, Words, convicted
from node_agent.floating.decide import Choices, Seen, choices_of
from node_agent.floating.homes import NodeNow
from node_agent.views import Basis, Complaints, Kept, LastGood, not_shown
from shared import codec, keys
from shared.clock import Clock
from shared.errors import CodecError
from shared.model import (
    FloatingAddress,
    FloatingClaim,
    GatewayWord,
    NodeName,
    NodeSpec,
    Revision,
    Silence,
    Suspicion,
)
from shared.store import KeyValue
from shared.view import View

# Who has a claim that cannot be read.
_STRANGER: Final = NodeName("?")


class Look:
    """Views of what others wrote, and since when things are so.

    Attributes:
        records, claims, words, gateways: the views.
        free_since: by address, since when nobody has its claim as far as we see.
        last_holder: by address, who had it last.
        convicted_since: by node, since when its host is unreachable as far as we see.
        failing_since: by node, since when its word is that its gateway does not serve.
        calm_since: since when nodes, gateways and claims are as they are and nobody who has a
            session is suspected; None: somebody is.
        declined: addresses with nodes that were to take them and did not, though they have a
            session ever since.
        choices: who should have what, by what was remembered last.
    """

    def __init__(self, clock: Clock, hold_s: float, changed: Callable[[], None]) -> None:
        self._clock = clock
        self.records, self.claims, self.words = View(changed), View(changed), View(changed)
        self.gateways = View(changed)
        self._good = LastGood(lambda key: key.removeprefix(keys.FLOATING), _address)
        self._complaints = Complaints()
        self._shown = Kept(self.claims, keys.VIPS, self._seen)
        self._said = Kept(self.words, keys.SUSPECTS, _words)
        self._serving = Kept(self.gateways, keys.GATEWAYS, _serving)
        self._ours: dict[str, Seen] = {}  # what we wrote and the view does not show yet
        self.free_since: Mapping[str, float] = {}
        self.last_holder: dict[str, NodeName] = {}
        self.convicted_since: Mapping[NodeName, float] = {}
        self.failing_since: Mapping[NodeName, float] = {}
        self._specs: tuple[NodeSpec, ...] = ()
        self.present: frozenset[NodeName] = frozenset()
        self._crowd = Crowd(hold_s)
        self.calm_since: float | None = None
        self._calm: object = None
        self._heirs: Mapping[str, NodeName] = {}
        self.declined: frozenset[tuple[str, NodeName]] = frozenset()
        self.choices: Choices | None = None
        self._nodes: tuple[tuple[NodeNow, ...], Convicted] = (), {}
        self._nodes_from, self._remembered_from = Basis(), Basis()

    @property
    def trusted_from(self) -> float | None:
        """Return when an absent claim says that its lease ran out; see Crowd."""
        return self._crowd.trusted_from

    @property
    def as_of(self) -> Mapping[str, Revision]:
        """Return up to which revision claims, suspicions and words of gateways were read."""
        views = {keys.VIPS: self.claims, keys.SUSPECTS: self.words, keys.GATEWAYS: self.gateways}
        return {prefix: view.revision for prefix, view in views.items()}

    @property
    def is_complete(self) -> bool:
        """Say whether everything was read once."""
        views = (self.records, self.claims, self.words, self.gateways)
        return bool(self._specs) and all(view.revision for view in views)

    @property
    def names(self) -> tuple[NodeName, ...]:
        """Return the names of all nodes."""
        return tuple(spec.name for spec in self._specs)

    def crowd(self, specs: tuple[NodeSpec, ...], present: frozenset[NodeName]) -> None:
        """Learn which nodes there are, and which have a session."""
        self._specs, self.present = specs, present
        self._crowd.learn(self._clock.boot_s(), present=len(present), nodes=len(specs))

    def addresses(self) -> Mapping[str, FloatingAddress]:
        """Return every floating address that can be read."""
        found = self._good.of(self.records.items)
        for key, why in self._good.refused.items():
            self._complaints.say(self.records.items[key], why)
        return found

    def seen(self) -> Mapping[str, Seen]:
        """Return the claims, with those that we have just written in place of older ones."""
        if not self._ours:
            return self._shown.now()  # as almost always, and as long as it is so the same object
        self._ours = not_shown(self._ours, self.claims)
        return {**self._shown.now(), **self._ours}

    def _seen(self, items: Mapping[str, KeyValue]) -> Mapping[str, Seen]:
        return {
            key.removeprefix(keys.VIPS): Seen(self.claim_of(item), item.mod_revision, item.lease)
            for key, item in items.items()
        }

    def claim_of(self, item: KeyValue) -> FloatingClaim:
        """Return the claim at a key; one that cannot be read is somebody's, that is all we know."""
        try:
            return codec.decode(FloatingClaim, item.value, item.key)
        except CodecError as error:
            self._complaints.say(item, error)
            return FloatingClaim(node=_STRANGER)

    def wrote(self, address: str, seen: Seen) -> None:
        """Remember a claim of ours until the view shows it."""
        self._ours[address] = seen

    def nodes(self) -> tuple[tuple[NodeNow, ...], Convicted]:
        """Return all nodes, and those whose hosts are unreachable.

        As long as nothing that they follow from has changed, they are the same objects.
        """
        of = self._said.now(), self._serving.now(), self._specs, self.present
        if self._nodes_from.is_new(*of):
            self._nodes = self._found(*of)
        return self._nodes

    def _found(
        self,
        words: Words,
        serving: Mapping[NodeName, bool],
        specs: tuple[NodeSpec, ...],
        present: frozenset[NodeName],
    ) -> tuple[tuple[NodeNow, ...], Convicted]:
        silent = {
            node
            for node, said in words.items()
            for silence, _ in said.values()
            if silence is Silence.HOST
        }
        nodes = tuple(
            NodeNow(spec, spec.name in present and spec.name not in silent, serving.get(spec.name))
            for spec in specs
        )
        return nodes, convicted(words, frozenset(self.names), present)

    def remember(
        self,
        records: Mapping[str, FloatingAddress],
        seen: Mapping[str, Seen],
        nodes: tuple[NodeNow, ...],
        gone: Convicted,
    ) -> None:
        """Note since when things are as they are; of the same objects as before that is known."""
        if not self._remembered_from.is_new(records, seen, nodes, gone):
            return
        addresses = records.keys()
        now = self._clock.boot_s()
        holders = {a: one.claim.node for a, one in seen.items() if one.claim.node}
        free = sorted(addresses - holders.keys())
        self.free_since = {address: self.free_since.get(address, now) for address in free}
        self.last_holder |= holders
        self.convicted_since = {node: self.convicted_since.get(node, now) for node in gone}
        serving = {node.spec.name: node.serves for node in nodes}
        failing = [node for node, serves in serving.items() if serves is False]
        self.failing_since = {node: self.failing_since.get(node, now) for node in failing}
        self._remember_heirs(seen)
        self._remember_calm(now, frozenset(addresses), seen, serving)
        self.choices = choices_of(records, seen, nodes, gone, self.declined)

    def _remember_heirs(self, seen: Mapping[str, Seen]) -> None:
        """Note who did not take what was left to it."""
        passed = {
            (address, heir)
            for address, heir in self._heirs.items()
            if address in seen and seen[address].claim.node not in {"", heir}
        }
        known = self.declined | passed
        self.declined = frozenset(one for one in known if one[1] in self.present)
        self._heirs = {a: one.claim.heir for a, one in seen.items() if one.claim.heir}

    def _remember_calm(
        self,
        now: float,
        addresses: frozenset[str],
        seen: Mapping[str, Seen],
        serving: Mapping[NodeName, bool | None],
    ) -> None:
        revisions = frozenset((address, one.revision) for address, one in seen.items())
        around = (self._specs, self.present, addresses, revisions, serving)
        if self._is_anybody_suspected():
            self.calm_since = None
        elif self.calm_since is None or around != self._calm:
            self.calm_since = now
        self._calm = around

    def _is_anybody_suspected(self) -> bool:
        """Say whether there is a word about a node that has a session; one that cannot be read is.

        What is said of a host that has been off for days is no suspicion any more.
        """
        accused = {key.removeprefix(keys.SUSPECTS).partition("/")[0] for key in self.words.items}
        return bool(accused & self.present)


def _address(item: KeyValue) -> FloatingAddress:
    return codec.decode(FloatingAddress, item.value, item.key)


def _words(items: Mapping[str, KeyValue]) -> Words:
    """Return who says what of each node."""
    words: dict[NodeName, dict[NodeName, tuple[Silence, Revision]]] = {}
    for key, item in items.items():
        word = codec.readable(Suspicion, item.value, key)
        if word is None:
            continue  # Its writer replaces it.
        words.setdefault(word.node, {})[word.peer] = (word.silence, item.mod_revision)
    return words


def _serving(items: Mapping[str, KeyValue]) -> Mapping[NodeName, bool]:
    """Return whose gateways serve, and whose do not, by their own word."""
    serving: dict[NodeName, bool] = {}
    for key, item in items.items():
        word = codec.readable(GatewayWord, item.value, key)
        if word is None:
            continue  # Its writer replaces it.
        serving[NodeName(key.removeprefix(keys.GATEWAYS))] = not word.trouble
    return serving
