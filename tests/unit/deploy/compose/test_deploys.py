"""`deploy`, and what hafen adds to it: modes, updates, restarts, devices, schedules."""

import pytest

from shared.model import (
    FailureAction,
    Mode,
    Order,
    Overlap,
    RestartCondition,
    RestartPolicy,
    Schedule,
    UpdatePolicy,
)
from tests.unit.deploy.compose.given import web, web_problems, workload


@pytest.mark.parametrize("mode", list(Mode))
def test_every_mode(mode: Mode) -> None:
    found = web(f"deploy: {{mode: {mode}}}")
    assert found.mode is mode
    is_job = found.workload.restart.condition is RestartCondition.ON_FAILURE
    assert is_job == mode.is_job


def test_updates_and_rollbacks_have_hafens_defaults() -> None:
    assert web("deploy: {update_config: {}, rollback_config: }").update == UpdatePolicy()
    found = web("""
        deploy:
          update_config:
            parallelism: 0
            delay: 5s
            failure_action: pause
            monitor: 1m
            max_failure_ratio: 0.25
            order: stop-first
          rollback_config: {failure_action: continue, order: start-first}
        x-hafen: {update: {progress_deadline: 2m, canary: 2, auto_promote: 0s}}
        """)
    assert found.update == UpdatePolicy(
        parallelism=0,
        delay_s=5.0,
        failure_action=FailureAction.PAUSE,
        monitor_s=60.0,
        max_failure_ratio=0.25,
        order=Order.STOP_FIRST,
        progress_deadline_s=120.0,
        canary=2,
        auto_promote_s=0.0,
    )
    assert found.rollback == UpdatePolicy(
        failure_action=FailureAction.CONTINUE, order=Order.START_FIRST
    )


def test_a_restart_policy_is_read_whole_and_counts_more_than_the_older_word() -> None:
    body = "deploy: {restart_policy: {condition: none, delay: 1s, max_attempts: 2, window: 3s}}"
    policy = RestartPolicy(
        condition=RestartCondition.NONE, delay_s=1.0, max_attempts=2, window_s=3.0
    )
    assert workload(body).restart == policy
    assert workload(f"restart: always\n{body}").restart == policy


def test_devices_are_counted_by_kind() -> None:
    body = """
    gpus: 1
    deploy:
      resources:
        reservations:
          devices:
            - {capabilities: [utility, gpu], count: 2}
            - {capabilities: [tpu], count: "3"}
          generic_resources: [{discrete_resource_spec: {kind: fpga, value: 4}}]
    """
    assert workload(body).reservations.devices == {"gpu": 3, "tpu": 3, "fpga": 4}


def test_labels_of_the_service_are_not_those_of_its_containers() -> None:
    found = web("labels: [a=1]\ndeploy: {labels: {b: 2}}")
    assert (found.labels, found.workload.labels) == ({"b": "2"}, {"a": "1"})


def test_a_constraint_that_always_holds_is_none() -> None:
    found = web("deploy: {placement: {constraints: [node.platform.os == linux]}}")
    assert found.placement.constraints == ()


def test_a_schedule_makes_a_job_of_a_service() -> None:
    short = web('x-hafen: {cron: "0  3 * * *"}')
    assert (short.mode, short.schedule) == (Mode.REPLICATED_JOB, Schedule(cron="0 3 * * *"))
    long = web("""
        deploy: {mode: global-job}
        x-hafen:
          cron: {schedule: "*/5 1-3 * jan mon", timezone: Europe/Berlin, overlap: replace}
          job: {max_concurrent: 2}
        """)
    assert (long.mode, long.max_concurrent) == (Mode.GLOBAL_JOB, 2)
    assert long.schedule == Schedule(
        cron="*/5 1-3 * jan mon", timezone="Europe/Berlin", overlap=Overlap.REPLACE
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("deploy: {mode: many}", "deploy.mode: expected replicated, global, replicated-job or"),
        ("deploy: {mode: global, replicas: 2}", "deploy.replicas: the nodes say how many"),
        (
            "deploy: {mode: replicated-job, restart_policy: {condition: any}}",
            "deploy.restart_policy: a job ends, so it cannot be started again",
        ),
        ("restart: always\ndeploy: {mode: global-job}", "restart: a job ends, so it cannot be"),
        ("deploy: {update_config: {order: first}}", "deploy.update_config.order: expected start"),
        (
            "deploy: {update_config: {max_failure_ratio: 2}}",
            "deploy.update_config.max_failure_ratio: expected a number from 0 to 1, got 2",
        ),
        (
            "deploy: {rollback_config: {failure_action: rollback}}",
            "deploy.rollback_config.failure_action: expected pause or continue",
        ),
        (
            "deploy: {resources: {reservations: {devices: [{capabilities: [gpu]}]}}}",
            "deploy.resources.reservations.devices[0]: hafen gives out a number of devices",
        ),
        (
            (
                "deploy: {resources: {reservations: {devices: [{capabilities: [gpu], "
                "device_ids: ['0', '3']}]}}}"
            ),
            (
                "deploy.resources.reservations.devices[0].device_ids: hafen counts devices and "
                "chooses them itself; write count: 2"
            ),
        ),
        ("x-hafen: {cron: '0 3 * *'}", "x-hafen.cron: expected minute, hour, day, month and"),
        ("x-hafen: {cron: '61 3 * * *'}", 'x-hafen.cron: "61 3 * * *" is no schedule'),
        ("x-hafen: {cron: '* * * * * *'}", "x-hafen.cron: expected minute, hour, day, month and"),
        (
            "x-hafen: {cron: {schedule: '* * * * *', timezone: ../etc}}",
            "x-hafen.cron.timezone: expected a time zone such as Europe/Berlin",
        ),
        (
            "deploy: {mode: replicated}\nx-hafen: {cron: '* * * * *'}",
            "x-hafen.cron: deploy.mode is replicated; write replicated-job or global-job",
        ),
        ("x-hafen: {job: {max_concurrent: 1}}", "x-hafen.job: deploy.mode is replicated; write"),
        ("deploy: {mode: global}\nx-hafen: {standby: 1}", "x-hafen.standby: a service of mode"),
        (
            "deploy: {update_config: {order: start-first}}\nx-hafen: {exclusive: true}",
            "deploy.update_config.order: at most one copy may run, so the old one is first",
        ),
        ("deploy: {mode: global}\nx-hafen: {exclusive: true}", "x-hafen.exclusive: at most one"),
    ],
)
def test_what_contradicts_itself_is_refused(body: str, why: str) -> None:
    (line,) = web_problems(body)
    assert line.startswith(why)
