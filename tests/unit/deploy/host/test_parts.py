"""What a host runs, and when an ended part comes back."""

import random
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deploy.host.parts import STEADY_S, etcd_argv, parts_of, restart_after
from shared.backoff import LIMIT_S
from shared.settings import EtcdMember, EtcdSettings, Settings, TlsSettings

MEMBER = EtcdMember(name="node-1", initial_cluster={"node-2": "10.0.0.2", "node-1": "10.0.0.1"})
TLS = TlsSettings(ca=Path("/c/ca"), cert=Path("/c/cert"), key=Path("/c/key"))


def settings(
    *, member: EtcdMember | None = MEMBER, tls: TlsSettings | None = TLS, scheduler: bool = True
) -> Settings:
    return Settings(
        node="node-1",
        address="10.0.0.1",
        subnet="10.9.1.0/24",
        pool="10.9.0.0/16",
        etcd=EtcdSettings(endpoints=("10.0.0.1:2379",)),
        member=member,
        tls=tls,
        scheduler=scheduler,
    )


def test_etcd_starts_first_and_the_agent_last() -> None:
    parts = parts_of(settings(), Path("/etc/x.toml"), python="py")

    assert [part.name for part in parts] == ["etcd", "scheduler", "agent"]
    assert parts[1].argv == ("py", "-m", "scheduler", "--config", "/etc/x.toml")
    assert parts[2].argv == ("py", "-m", "node_agent", "--config", "/etc/x.toml")


def test_a_host_without_member_and_scheduler_runs_only_the_agent() -> None:
    parts = parts_of(settings(member=None, scheduler=False), Path("/etc/x.toml"))

    assert [part.name for part in parts] == ["agent"]


def test_etcd_demands_certificates_from_clients_and_members() -> None:
    argv = etcd_argv(settings())

    assert "--client-cert-auth=true" in argv
    assert "--peer-client-cert-auth=true" in argv
    assert "--trusted-ca-file=/c/ca" in argv
    assert "--peer-key-file=/c/key" in argv
    assert "--listen-client-urls=https://10.0.0.1:2379,https://127.0.0.1:2379" in argv
    assert "--initial-cluster=node-1=https://10.0.0.1:2380,node-2=https://10.0.0.2:2380" in argv
    assert not [flag for flag in argv if "http://" in flag]


def test_without_tls_etcd_speaks_plainly() -> None:
    argv = etcd_argv(settings(tls=None))

    assert "--listen-peer-urls=http://10.0.0.1:2380" in argv
    assert not [flag for flag in argv if "cert" in flag or "https" in flag]


@given(st.integers(0, 10_000), st.floats(0.0, STEADY_S, exclude_max=True), st.randoms())
def test_a_part_that_ends_soon_waits_longer_but_never_for_ever(
    attempt: int, ran_s: float, rng: random.Random
) -> None:
    restart = restart_after(attempt, ran_s, rng)

    assert restart.attempt == attempt + 1
    assert 0 < restart.wait_s <= LIMIT_S


@given(st.integers(0, 10_000), st.floats(STEADY_S, 1e9), st.randoms())
def test_a_part_that_ran_well_comes_back_at_once(
    attempt: int, ran_s: float, rng: random.Random
) -> None:
    restart = restart_after(attempt, ran_s, rng)

    assert restart.attempt == 1
    assert restart.wait_s <= 0.1
