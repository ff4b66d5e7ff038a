"""Steps: when the registry is asked, what files get, and what is put off."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import pytest

from node_agent.actions import Create, Remove, Start, Step
from node_agent.contents import Contents
from node_agent.execute import REFUSED_S, Executor, Wanted
from node_agent.runtime import NO_CONTENTS, Phase
from shared.clock import Clock
from shared.errors import AddressTakenError, UnavailableError
from shared.model import AllocId, Assignment, MountedFile, PullPolicy
from tests.build import assignment, workload
from tests.fakes.runtime import FakeRuntime
from tests.fakes.store import FakeEtcd, FakeStore
from tests.virtual import on_virtual_time

A, B = AllocId("shop.web.1.a"), AllocId("shop.web.2.b")
SECRET = MountedFile(content="shop/pass/1", target="/run/pass", is_secret=True)
HAVING_SECRETS = msgspec.structs.replace(workload(), files=(SECRET,))


class Asked(FakeRuntime):
    """Notes what the registry is asked; the address of its next container may be another's."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, refusal=lambda verb, _: self.refuses if verb == "remove" else None)
        self.refuses: str | None = None
        self.is_address_taken = False
        self.pulls: list[tuple[str, bool]] = []

    async def pull(self, image: str, *, anew: bool = False) -> None:
        self.pulls.append((image, anew))
        await super().pull(image, anew=anew)

    async def create(
        self, assignment: Assignment, given: Mapping[str, bytes] = NO_CONTENTS
    ) -> None:
        if self.is_address_taken:
            raise AddressTakenError("198.19.1.2 is still that of shop.web.1.z")
        await super().create(assignment, given)


class Given(Contents):
    """Gives every file its own name as content, once the store is back."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(FakeStore(FakeEtcd(clock), "node-1"), Path("/absent"))
        self.is_away, self.reads = False, 0

    async def read(self, files: Sequence[MountedFile]) -> Mapping[str, bytes]:
        self.reads += 1
        if self.is_away:
            raise UnavailableError("no member answers")
        return {each.content: each.content.encode() for each in files}


class Rig:
    """An executor with a fake runtime."""

    def __init__(self, clock: Clock, group: asyncio.TaskGroup) -> None:
        self.runtime, self.contents = Asked(clock), Given(clock)
        self.failures: list[str] = []
        self.executor = Executor(
            self.runtime,
            self.contents,
            group,
            failed=lambda _step, reason: self.failures.append(reason),
            done=lambda: None,
            wanted=lambda _id: Wanted.RUNNING,
        )

    async def do(self, step: Step) -> None:
        self.executor.begin([step])
        while self.executor.in_flight:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("policy", "pulls"),
    [
        (PullPolicy.MISSING, [("app:1", False)]),
        (PullPolicy.ALWAYS, [("app:1", True)]),
        (PullPolicy.NEVER, []),
    ],
)
def test_the_registry_is_asked_as_the_service_says(
    policy: PullPolicy, pulls: list[tuple[str, bool]]
) -> None:
    async def main(clock: Clock) -> None:
        async with asyncio.TaskGroup() as group:
            rig = Rig(clock, group)
            asked = assignment(A, msgspec.structs.replace(workload(), pull=policy))
            await rig.do(Create(A, "new", asked))
            assert rig.runtime.pulls == pulls
            lacking = ["app:1: not on this node; pull it first"]
            assert rig.failures == (lacking if policy is PullPolicy.NEVER else [])

    on_virtual_time(main)


def test_a_container_with_secrets_waits_for_a_store_that_is_away_and_does_not_fail() -> None:
    async def main(clock: Clock) -> None:
        async with asyncio.TaskGroup() as group:
            rig = Rig(clock, group)
            rig.contents.is_away = True
            step = Create(A, "new", assignment(A, HAVING_SECRETS))
            before = clock.monotonic_s()
            await rig.do(step)
            assert clock.monotonic_s() - before >= 1.0
            assert (rig.failures, rig.runtime.all()) == ([], ())
            rig.contents.is_away = False
            await rig.do(step)
            assert [each.phase for each in rig.runtime.all()] == [Phase.RUNNING]

    on_virtual_time(main)


def test_secrets_that_a_reboot_took_are_asked_for_again_and_others_are_not() -> None:
    async def main(clock: Clock) -> None:
        async with asyncio.TaskGroup() as group:
            rig = Rig(clock, group)
            await rig.do(Create(A, "new", assignment(A, HAVING_SECRETS)))
            rig.runtime.crash(A)
            await rig.do(Start(A, "it exited with code 1"))
            assert rig.contents.reads == 1
            rig.runtime.power_loss()
            await rig.do(Start(A, "it ended while nobody watched"))
            assert (rig.contents.reads, rig.failures) == (2, [])
            assert [each.phase for each in rig.runtime.all()] == [Phase.RUNNING]

    on_virtual_time(main)


def test_what_a_full_disk_refuses_fails_alone_and_says_why() -> None:
    async def main(clock: Clock) -> None:
        async with asyncio.TaskGroup() as group:
            rig = Rig(clock, group)
            await rig.do(Create(A, "new", assignment(A)))
            await rig.do(Create(B, "new", assignment(B)))
            rig.runtime.crash(A)
            rig.runtime.is_full = True
            await rig.do(Start(A, "it exited with code 1"))
            assert rig.failures == [f"{A}: not started: No space left on device"]
            assert [each.phase for each in rig.runtime.all()] == [Phase.EXITED, Phase.RUNNING]

    on_virtual_time(main)


def test_what_cannot_be_removed_is_not_asked_for_again_at_once() -> None:
    async def main(clock: Clock) -> None:
        async with asyncio.TaskGroup() as group:
            rig = Rig(clock, group)
            await rig.do(Create(A, "new", assignment(A)))
            rig.runtime.refuses = "Read-only file system"
            before = clock.monotonic_s()
            await rig.do(Remove(A, "not assigned here"))
            assert rig.failures == [f"{A}: remove: Read-only file system"]
            assert clock.monotonic_s() - before >= REFUSED_S

    on_virtual_time(main)


def test_a_container_whose_address_is_still_anothers_is_put_off_and_does_not_fail() -> None:
    async def main(clock: Clock) -> None:
        async with asyncio.TaskGroup() as group:
            rig = Rig(clock, group)
            rig.runtime.is_address_taken = True
            await rig.do(Create(A, "new", assignment(A)))
            assert (rig.failures, rig.runtime.all()) == ([], ())
            rig.runtime.is_address_taken = False
            await rig.do(Create(A, "new", assignment(A)))
            assert [each.phase for each in rig.runtime.all()] == [Phase.RUNNING]

    on_virtual_time(main)
