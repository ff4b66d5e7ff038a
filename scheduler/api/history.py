"""A stack's generations as people look at them: what each changed, which runs, which ran whole.

Pure.
"""

from collections.abc import Sequence

from scheduler.api.amend import Rollouts, is_stable
from scheduler.api.fields import network_changes, service_changes
from shared.api import GenerationView, Happening, HistoryView, ServiceChange
from shared.model import Stack


def history(stack: Stack, past: Sequence[Stack], rollouts: Rollouts) -> HistoryView:
    """Return the history of a stack, the newest generation first.

    Args:
        stack: as it is asked for now.
        past: the generations before it that are kept, the oldest first.
        rollouts: how far its services' updates are.
    """
    known = (*past, stack)
    # Of several that asked for the same, it is the newest that ran.
    whole = next((one.generation for one in reversed(known) if is_stable(one, rollouts)), 0)
    views = [
        GenerationView(
            generation=one.generation,
            at_s=one.deployed_at_s,
            why=one.why,
            services=_changed(known[index - 1], one) if index else (),
            networks=network_changes(known[index - 1].networks, one.networks) if index else (),
            is_current=one is stack,
            is_stable=one.generation == whole,
        )
        for index, one in enumerate(known)
    ]
    return HistoryView(stack=stack.name, generations=tuple(reversed(views)))


def _changed(before: Stack, after: Stack) -> tuple[ServiceChange, ...]:
    found = service_changes(before.services, after.services)
    return tuple(one for one in found if one.what is not Happening.NONE)
