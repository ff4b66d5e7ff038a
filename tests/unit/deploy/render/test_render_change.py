"""Plans, progress and histories as people read them."""

from deploy import render_change as render
from deploy.render import plain
from shared.api import (
    Fact,
    FieldChange,
    GenerationView,
    Happening,
    Move,
    PlanView,
    ServiceChange,
    ServiceView,
    SlotStep,
    SlotView,
    StackProgress,
    WhyView,
)
from shared.model import AllocId, NodeName, ServiceName, StackName

SHOP, WEB = StackName("shop"), ServiceName("web")
NODE_1, NODE_2 = NodeName("node-1"), NodeName("node-2")


def service(
    *,
    ready: int = 0,
    updated: int = 0,
    waiting: tuple[str, ...] = (),
    phase: str = "",
    reason: str = "",
    slots: tuple[SlotView, ...] = (),
) -> ServiceView:
    return ServiceView(
        stack=SHOP,
        service=WEB,
        image="nginx:1",
        replicas=3,
        ready=ready,
        updated=updated,
        waiting=waiting,
        phase=phase,
        reason=reason,
        slots=slots,
    )


def slot(number: int, state: str, version: str = "new") -> SlotView:
    id_ = AllocId(f"shop.web.{number}.{version}")
    return SlotView(slot=number, node=NODE_1, allocation=id_, version=version, state=state)


def progress(*services: ServiceView) -> StackProgress:
    return StackProgress(stack=SHOP, generation=2, services=services, done=False)


PLAN = PlanView(
    plan_id="7-abc",
    stack=SHOP,
    generation=3,
    services=(
        ServiceChange(
            service=ServiceName("db"),
            what=Happening.CREATE,
            fields=(FieldChange(path="workload.image", after="db:1"),),
        ),
        ServiceChange(service=ServiceName("old"), what=Happening.REMOVE),
        ServiceChange(service=ServiceName("same"), what=Happening.NONE),
        ServiceChange(
            service=WEB,
            what=Happening.UPDATE,
            fields=(
                FieldChange(path="replicas", before="2", after="3"),
                FieldChange(path="workload.environment.MODE", before="fast"),
            ),
        ),
    ),
    steps=(
        SlotStep(service=ServiceName("db"), slot=1, move=Move.START, node=NODE_2),
        SlotStep(
            service=WEB,
            slot=1,
            move=Move.REPLACE,
            node=NODE_2,
            allocation="shop.web.1.a",
            from_node=NODE_1,
        ),
        SlotStep(
            service=ServiceName("old"),
            slot=1,
            move=Move.STOP,
            node=NODE_1,
            allocation="shop.old.1.a",
        ),
    ),
    more=4,
    warnings=("web standby: no node is ready",),
    networks=(FieldChange(path="networks.shop_back", after="internal"),),
)


def test_a_plan_reads_like_a_diff_with_places_and_refusals() -> None:
    assert render.plan_lines(PLAN) == [
        "shop (generation 3)",
        "+ db: create",
        "    + image: db:1",
        "- old: remove",
        "  same: nothing changes",
        "~ web: update",
        "    ~ replicas: 2 -> 3",
        "    - environment.MODE: fast",
        "+ networks.shop_back: internal",
        "",
        "Where the replicas go:",
        "  db 1: start on node-2",
        "  web 1: replace shop.web.1.a on node-1 by one on node-2",
        "  old 1: stop shop.old.1.a on node-1",
        "  and 4 more like these",
        "warning: web standby: no node is ready",
        "",
        "To do exactly this: hafen deploy --plan-id 7-abc",
    ]


def test_a_plan_that_cannot_be_ends_with_why() -> None:
    plan = PlanView(
        plan_id="0-abc", stack=SHOP, generation=0, services=(), refusals=("web 1: no node fits",)
    )

    assert render.plan_lines(plan) == [
        "shop (not deployed yet)",
        "",
        "This cannot be:",
        "  web 1: no node fits",
        "",
        "A deploy would be refused.",
    ]


def test_what_moves_on_is_a_line_and_what_does_not_is_none() -> None:
    before = progress(service(ready=3, slots=(slot(1, "healthy", "old"),)))
    after = progress(
        service(
            ready=3,
            updated=1,
            waiting=("w",),
            phase="rolling",
            slots=(slot(1, "draining", "old"), slot(1, "healthy")),
        )
    )

    assert render.progress_lines(None, before) == [
        "web: 0 of 3 ready, 3 old",
        "web 1 old: healthy on node-1",
    ]
    assert render.progress_lines(before, before) == []
    assert render.progress_lines(before, after) == [
        "web: 1 of 3 ready, 2 old, rolling (w)",
        "web 1 old: draining on node-1",
        "web 1 new: healthy on node-1",
    ]
    assert render.live_lines(after)[:2] == [
        "web: 1 of 3 ready, 2 old, rolling (w)",
        "  web 1 old: draining on node-1",
    ]


def test_a_deploy_ends_with_how_many_replicas_are_where() -> None:
    done = progress(service(ready=3, updated=3))

    assert render.ready_line(done, 3) == "shop: 3 of 3 replicas ready on 3 nodes"
    assert render.ready_line(done, 1) == "shop: 3 of 3 replicas ready on 1 node"


def test_a_canary_that_waits_says_how_to_go_on() -> None:
    assert render.canary_lines(progress(service(phase="canary"), service(phase="done"))) == [
        (
            "web: the canary is well and waits: `hafen promote shop.web` goes on, "
            "`hafen abort shop.web` goes back"
        )
    ]


def test_every_bad_end_says_why_and_how_to_go_on() -> None:
    why = ["web: web 1 on node-1: no such image"]

    assert render.blocked_message(progress(), why) == (
        "shop does not come up:\n"
        "  web: web 1 on node-1: no such image\n"
        "The stack is stored (generation 2) and hafen keeps trying; `hafen ps shop` shows it.\n"
        "Mend the file and deploy it again, `hafen rollback shop`, or `hafen rm shop`."
    )
    for message in (render.stopped_message, render.rolled_back_message):
        said = message(progress(), why)
        assert why[0] in said
        assert "`hafen " in said
    assert "hafen watch shop" in render.interrupted_message("shop")


def test_a_history_is_a_table_with_what_each_generation_changed() -> None:
    scaled = ServiceChange(
        service=WEB,
        what=Happening.SCALE,
        fields=(FieldChange(path="replicas", before="1", after="2"),),
    )
    table = render.history_table(
        [
            GenerationView(
                generation=2, at_s=86400.5, why="scale web=2", services=(scaled,), is_current=True
            ),
            GenerationView(generation=1, at_s=0.0, why="deploy", networks=PLAN.networks),
            GenerationView(generation=0, at_s=0.0, why="deploy", is_stable=True),
        ]
    )

    assert plain(table) == [
        "GENERATION  WHEN (UTC)           WHY          CHANGED               NOTES",
        "         2  1970-01-02 00:00:00  scale web=2  scale web (replicas)  asked for now",
        "         1  1970-01-01 00:00:00  deploy       networks.shop_back",
        "         0  1970-01-01 00:00:00  deploy                             ran whole last",
    ]


def test_an_explanation_is_a_line_for_each_fact() -> None:
    why = WhyView(
        subject="service shop.web",
        facts=(Fact(about="asked", sentence="1 of 2"), Fact(about="in", sentence="x")),
    )

    assert render.why_lines(why) == ["service shop.web", "  asked  1 of 2", "  in     x"]
