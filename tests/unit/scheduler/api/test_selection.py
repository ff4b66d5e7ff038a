"""Whose logs are meant, and what is said when that cannot be told."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.api.placed import placed
from scheduler.api.selection import Selection, resolve
from shared.errors import NotFoundError, SpecError
from tests.unit.scheduler.api.build import assignment, judged, node, spec, stack, world

WEB = spec()
SEEN = world(
    node(1, [assignment(WEB)]),
    stacks=[stack(WEB, spec("db")), stack(spec("db"), name="blog")],
)
FOUND = placed(SEEN, judged(SEEN))
MANY = world(
    node(
        1,
        [
            *(assignment(WEB, slot, suffix="ab") for slot in (1, 12)),
            *(assignment(WEB, 2, suffix=suffix) for suffix in ("x", "xyz")),
            # A standby that was activated.
            msgspec.structs.replace(assignment(WEB, 0, suffix="up"), slot=4),
        ],
    ),
    stacks=[stack(WEB)],
)
ALL = placed(MANY, judged(MANY))


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        (Selection(service="web"), Selection(stack="shop", service="web")),
        (Selection(stack="blog", service="db"), Selection(stack="blog", service="db")),
        (Selection(stack="shop"), Selection(stack="shop")),
        (Selection(service="shop"), Selection(stack="shop")),
        (Selection(allocation="shop.web.1.a"), Selection(allocation="shop.web.1.a")),
    ],
)
def test_a_name_that_means_one_thing_is_resolved(asked: Selection, meant: Selection) -> None:
    assert resolve(asked, SEEN, FOUND) == meant


@pytest.mark.parametrize(
    ("asked", "kind", "line"),
    [
        (Selection(), SpecError, "say which: a service, STACK.SERVICE or an allocation"),
        (
            Selection(service="db"),
            SpecError,
            "service db is in 2 stacks: write blog.db or shop.db",
        ),
        (
            Selection(service="cache"),
            NotFoundError,
            "there is no service 'cache'; there are: blog.db, shop.db, shop.web",
        ),
        (
            Selection(stack="blog", service="web"),
            NotFoundError,
            "there is no service 'blog.web'; there are: blog.db, shop.db, shop.web",
        ),
        (
            Selection(allocation="shop.web.9.z"),
            NotFoundError,
            "there is no allocation 'shop.web.9.z'; there are: shop.web",
        ),
    ],
)
def test_a_name_that_means_nothing_or_too_much_is_refused(
    asked: Selection, kind: type[Exception], line: str
) -> None:
    with pytest.raises(kind) as refused:
        resolve(asked, SEEN, FOUND)

    assert str(refused.value) == line


@pytest.mark.parametrize(
    ("short", "id_"),
    [
        ("shop.web.1", "shop.web.1.ab"),
        ("shop.web.1.", "shop.web.1.ab"),
        ("shop.web.1.a", "shop.web.1.ab"),
        ("shop.web.2.x", "shop.web.2.x"),  # as it is written, before what begins so
        ("shop.web.2.xy", "shop.web.2.xyz"),
        ("shop.web.4", "shop.web.0.up"),
        ("shop.web.0.u", "shop.web.0.up"),
        ("shop.web.12", "shop.web.12.ab"),
    ],
)
def test_an_allocation_has_a_short_form(short: str, id_: str) -> None:
    assert resolve(Selection(allocation=short), MANY, ALL) == Selection(allocation=id_)


@pytest.mark.parametrize(
    ("short", "kind", "line"),
    [
        (
            "shop.web.2",
            SpecError,
            "shop.web.2 may be any of 2 allocations: write shop.web.2.x or shop.web.2.xyz",
        ),
        ("shop.web.3", NotFoundError, "there is no allocation 'shop.web.3'; there are: shop.web"),
        ("shop.web.1.b", NotFoundError, "there is no allocation 'shop.web.1.b'; there are: shop"),
        ("shop.we.1", NotFoundError, "there is no allocation 'shop.we.1'; there are: shop.web"),
    ],
)
def test_a_short_form_that_means_nothing_or_too_much_is_refused(
    short: str, kind: type[Exception], line: str
) -> None:
    with pytest.raises(kind) as refused:
        resolve(Selection(allocation=short), MANY, ALL)
    assert str(refused.value).startswith(line)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2))
def test_a_slot_is_never_taken_for_another_one(one: int, other: int, cut: int) -> None:
    held = [assignment(WEB, slot=slot, suffix="ab") for slot in sorted({one, other})]
    seen = world(node(1, held), stacks=[stack(WEB)])
    short = f"shop.web.{one}.ab"[: -cut or None].rstrip(".")
    found = resolve(Selection(allocation=short), seen, placed(seen, judged(seen)))
    assert found == Selection(allocation=f"shop.web.{one}.ab")


def test_an_empty_cluster_says_that_nothing_is_deployed() -> None:
    with pytest.raises(NotFoundError) as refused:
        resolve(Selection(service="web"), world(), ())

    assert str(refused.value) == "there is no service 'web'; nothing is deployed"
