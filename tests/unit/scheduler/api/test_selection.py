"""Whose logs are meant, and what is said when that cannot be told."""

import pytest

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


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (Selection(service="web"), Selection(stack="shop", service="web")),
        (Selection(stack="blog", service="db"), Selection(stack="blog", service="db")),
        (Selection(stack="shop"), Selection(stack="shop")),
        (Selection(service="shop"), Selection(stack="shop")),
        (Selection(allocation="shop.web.1.a"), Selection(allocation="shop.web.1.a")),
    ],
)
def test_a_name_that_means_one_thing_is_resolved(given: Selection, meant: Selection) -> None:
    assert resolve(given, SEEN, FOUND) == meant


@pytest.mark.parametrize(
    ("given", "kind", "line"),
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
    given: Selection, kind: type[Exception], line: str
) -> None:
    with pytest.raises(kind) as refused:
        resolve(given, SEEN, FOUND)

    assert str(refused.value) == line


def test_an_empty_cluster_says_that_nothing_is_deployed() -> None:
    with pytest.raises(NotFoundError) as refused:
        resolve(Selection(service="web"), world(), ())

    assert str(refused.value) == "there is no service 'web'; nothing is deployed"
