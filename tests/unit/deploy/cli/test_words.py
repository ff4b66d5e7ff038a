"""What people type -> what is meant by it."""

import pytest

from deploy.cli.amend import parse_counts
from deploy.cli.oneoff import one_off
from deploy.cli.whose import meant
from shared.api import ServiceList, ServiceView
from shared.errors import NotFoundError, SpecError
from shared.model import EndpointMode, Mode, RestartCondition, ServiceName, StackName
from tests.build import service, stack

SHOP, WEB, DB = StackName("shop"), ServiceName("web"), ServiceName("db")


def there(*names: str, unread: tuple[str, ...] = ()) -> ServiceList:
    pairs = [name.split(".") for name in names]
    services = tuple(
        ServiceView(
            stack=StackName(one),
            service=ServiceName(other),
            image="",
            replicas=1,
            ready=0,
            updated=0,
        )
        for one, other in pairs
    )
    cannot = {StackName(name): f"{name} cannot be read" for name in unread}
    return ServiceList(services=services, unread=cannot)


ALL = there("shop.web", "shop.db", "blog.db", "blog.front", "front.page", unread=("db", "crm"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["web"], (SHOP, (WEB,))),
        (["shop.db"], (SHOP, (DB,))),
        (["web", "shop.db"], (SHOP, (WEB, DB))),
        (["shop"], (SHOP, ())),
        (["shop", "web"], (SHOP, ())),
        (["front"], (StackName("blog"), (ServiceName("front"),))),
    ],
)
def test_a_name_is_a_service_or_else_a_stack(
    words: list[str], expected: tuple[StackName, tuple[ServiceName, ...]]
) -> None:
    assert meant(words, ALL) == expected


@pytest.mark.parametrize(
    ("words", "error", "sentence"),
    [
        (["db"], SpecError, "service db is in 2 stacks: write blog.db or shop.db"),
        (["crm"], NotFoundError, "crm cannot be read"),
        (["crm.web"], NotFoundError, "crm cannot be read"),
        (["web", "blog"], SpecError, "web blog: they are of the stacks blog, shop; take one"),
        (
            ["x"],
            NotFoundError,
            (
                "there is no service or stack 'x'; there is: blog.db, blog.front, front.page, "
                "shop.db, shop.web"
            ),
        ),
    ],
)
def test_what_is_not_clear_is_refused_with_what_there_is(
    words: list[str], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error) as refused:
        meant(words, ALL)
    assert str(refused.value) == sentence


def test_counts_are_services_and_numbers() -> None:
    assert parse_counts(["web=5", "shop.db=0"]) == {"web": 5, "shop.db": 0}
    for word in ("web", "web=", "=5", "web=-1", "web=x"):
        with pytest.raises(SpecError, match="write SERVICE=COUNT"):
            parse_counts([word])


def test_a_one_off_is_a_job_without_ports_that_is_not_started_again() -> None:
    one = one_off(stack("shop", service(port=80, replicas=3)), WEB, ("ls", "-l"))

    assert (one.mode, one.replicas, one.workload.ports) == (Mode.REPLICATED_JOB, 1, ())
    assert one.workload.command == ("ls", "-l")
    assert one.workload.restart.condition is RestartCondition.NONE
    assert one_off(stack("shop", service()), WEB, ()).workload.command is None
    # Nobody who asks for the service is led to it.
    assert (one.name, one.endpoint_mode) == ("web-run", EndpointMode.DNSRR)
