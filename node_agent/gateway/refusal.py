"""What HAProxy refuses to read: the stack that it is of is left out, and the others get in."""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import structlog

from node_agent.gateway import edge
from node_agent.gateway.config import Place, Served, render
from node_agent.gateway.process import ConfigRefusedError, Haproxy
from node_agent.gateway.slots import Table
from node_agent.gateway.wanted import shapes, with_tables
from shared.model import StackName

_log = structlog.get_logger()
_Shapes = Mapping[str, str]
InPlace = Mapping[StackName, tuple[Served, ...]]


class Accepted(msgspec.Struct, frozen=True):
    """What can be served, what cannot, and why.

    Attributes:
        served: of stacks that are left out, what they had before.
        shapes: what of that only a reload can change, see wanted.shapes.
        left_out: the others.
        problems: one sentence for each that is left out.
    """

    served: tuple[Served, ...]
    shapes: _Shapes
    left_out: frozenset[StackName]
    problems: tuple[str, ...]


class Refusals:
    """Remembers what HAProxy has refused and what it took before.

    Args:
        haproxy: is asked.
        in_place: what an agent before had in the place of refused stacks.
    """

    def __init__(self, haproxy: Haproxy, in_place: InPlace) -> None:
        self._haproxy = haproxy
        self._refused: dict[StackName, tuple[_Shapes, str]] = {}
        self._good: dict[StackName, tuple[Served, ...]] = dict(in_place)
        self._unjudged = frozenset(in_place)

    @property
    def in_place(self) -> InPlace:
        """Return what serves in the place of stacks that are refused, or were by what is known."""
        kept = self._unjudged | self._refused.keys()
        return {stack: own for stack, own in sorted(self._good.items()) if stack in kept}

    def known(
        self,
        served: Sequence[Served],
        wanted: _Shapes,
        were_open: _Shapes,
        tables: Mapping[str, Table],
        place: Place,
    ) -> Accepted:
        """Return `served`, of which `wanted` are the shapes, without what was refused already.

        What is another by a word is tried again.
        """
        stacks = _by_stack(served)
        # What is in force is good, also what an agent before has brought there.
        self._good |= {s: own for s, own in stacks.items() if _is_open(own, were_open, wanted)}
        self._refused = {
            stack: (seen, why)
            for stack, (seen, why) in self._refused.items()
            if stack in stacks and shapes(stacks[stack], place) == seen
        }
        kept = {
            stack: with_tables(self._good.get(stack, ()), tables) if stack in self._refused else own
            for stack, own in stacks.items()
        }
        return self._told(kept, shapes(_joined(kept), place) if self._refused else wanted)

    async def fitting(
        self, accepted: Accepted, were_open: _Shapes, tables: Mapping[str, Table], place: Place
    ) -> Accepted:
        """Return what HAProxy reads; what is new and cannot be read is left out, stack by stack.

        Raises:
            ConfigRefusedError: it does not even read what it has.
        """
        try:
            await self._check(accepted.served, place)
        except ConfigRefusedError as error:
            _log.error("gateway_config_refused", reason=str(error))
        else:
            self._take(accepted)
            return accepted
        wanted = _by_stack(accepted.served)
        kept = {
            stack: own for stack, own in wanted.items() if _is_open(own, were_open, accepted.shapes)
        }
        new = sorted(wanted.keys() - kept.keys())
        kept |= {stack: with_tables(self._good.get(stack, ()), tables) for stack in new}
        await self._check(_joined(kept), place)
        for stack in new:
            trial = {**kept, stack: wanted[stack]}
            try:
                await self._check(_joined(trial), place)
            except ConfigRefusedError as error:
                why = f"stack {stack} stays as it was on this node: {error}"
                self._refused[stack] = (shapes(wanted[stack], place), why)
            else:
                kept = trial
        result = self._told(kept, shapes(_joined(kept), place))
        self._take(result)
        return result

    def _told(self, kept: Mapping[StackName, tuple[Served, ...]], of_kept: _Shapes) -> Accepted:
        return Accepted(
            _joined(kept),
            of_kept,
            frozenset(self._refused),
            tuple(why for _, (_, why) in sorted(self._refused.items())),
        )

    def _take(self, accepted: Accepted) -> None:
        self._unjudged = frozenset()
        self._good = {
            **{stack: self._good.get(stack, ()) for stack in accepted.left_out},
            **{
                stack: own
                for stack, own in _by_stack(accepted.served).items()
                if stack not in accepted.left_out
            },
        }

    async def _check(self, served: Sequence[Served], place: Place) -> None:
        await self._haproxy.check(render(served, place, edge.render(served, place)))


def _is_open(own: Sequence[Served], were_open: _Shapes, wanted: _Shapes) -> bool:
    return all(were_open.get(each.backend) == wanted[each.backend] for each in own)


def _by_stack(served: Iterable[Served]) -> dict[StackName, tuple[Served, ...]]:
    found: dict[StackName, tuple[Served, ...]] = {}
    for each in served:
        found[each.stack] = (*found.get(each.stack, ()), each)
    return found


def _joined(stacks: Mapping[StackName, Iterable[Served]]) -> tuple[Served, ...]:
    return tuple(each for own in stacks.values() for each in own)
