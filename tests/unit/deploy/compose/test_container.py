"""Who a container's process is, what it may do, what it is called, how the kernel treats it."""

from typing import Any

import msgspec
import pytest

from deploy.compose.building import Build
from shared.model import (
    BlockIo,
    Device,
    PullPolicy,
    RestartCondition,
    RestartPolicy,
    Throttle,
    Ulimit,
)
from tests.unit.deploy.compose.given import (
    understood,
    web_problems,
    web_warnings,
    workload,
)


def read(found: Any, path: str) -> Any:
    """Return the attribute of a record at a dotted path."""
    for name in path.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize(
    ("body", "path", "value"),
    [
        ("user: '1000:1000'", "security.user", "1000:1000"),
        ("user: 1000", "security.user", "1000"),
        ("group_add: [audio, 44]", "security.groups", ("audio", "44")),
        ("cap_add: [CAP_NET_ADMIN, sys_time]", "security.cap_add", ("NET_ADMIN", "SYS_TIME")),
        ("cap_drop: [ALL]", "security.cap_drop", ("ALL",)),
        ("privileged: true", "security.privileged", True),
        ("read_only: true", "security.read_only", True),
        ("security_opt: ['no-new-privileges:false']", "security.no_new_privileges", False),
        ("security_opt: [no-new-privileges]", "security.no_new_privileges", True),
        ("security_opt: ['seccomp=unconfined']", "security.seccomp", False),
        ("security_opt: ['systempaths=unconfined']", "security.system_paths", False),
        (
            "devices: [/dev/fuse, '/dev/a:/dev/b:r']",
            "security.devices",
            (
                Device(source="/dev/fuse", target="/dev/fuse"),
                Device(source="/dev/a", target="/dev/b", permissions="r"),
            ),
        ),
        ("device_cgroup_rules: ['c 1:3 mr']", "security.device_rules", ("c 1:3 mr",)),
        ("hostname: a.b", "naming.hostname", "a.b"),
        ("domainname: b.c", "naming.domainname", "b.c"),
        ("extra_hosts: ['a:10.0.0.1', 'b=::1']", "naming.extra_hosts", ("a=10.0.0.1", "b=::1")),
        ("extra_hosts: {a: host-gateway}", "naming.extra_hosts", ("a=host-gateway",)),
        ("extra_hosts: {a: [10.0.0.1, '::1']}", "naming.extra_hosts", ("a=10.0.0.1", "a=::1")),
        ("dns: 1.1.1.1", "naming.dns", ("1.1.1.1",)),
        ("dns: [1.1.1.1, '::1']", "naming.dns", ("1.1.1.1", "::1")),
        ("dns_search: example.com", "naming.dns_search", ("example.com",)),
        ("dns_opt: ['ndots:2']", "naming.dns_options", ("ndots:2",)),
        ("cpuset: 0-1,3", "tuning.cpuset", "0-1,3"),
        ("cpu_shares: 512", "tuning.cpu_shares", 512),
        ("mem_swappiness: 0", "tuning.swappiness", 0),
        ("oom_score_adj: -500", "tuning.oom_score_adj", -500),
        ("oom_kill_disable: true", "tuning.oom_kill_disable", True),
        ("shm_size: 64m", "tuning.shm_bytes", 64 << 20),
        ("sysctls: [net.core.somaxconn=1]", "tuning.sysctls", {"net.core.somaxconn": "1"}),
        ("sysctls: {kernel.shmmax: 5}", "tuning.sysctls", {"kernel.shmmax": "5"}),
        (
            "ulimits: {nofile: {soft: 1, hard: 2}, nproc: 3, memlock: -1}",
            "tuning.ulimits",
            (
                Ulimit(name="nofile", soft=1, hard=2),
                Ulimit(name="nproc", soft=3, hard=3),
                Ulimit(name="memlock", soft=-1, hard=-1),
            ),
        ),
        ("pid: host", "tuning.pid", "host"),
        ("ipc: private", "tuning.ipc", ""),
        ("ipc: host", "tuning.ipc", "host"),
        ("uts: host", "tuning.uts", "host"),
        ("cgroup: host", "tuning.cgroup", "host"),
        ("mem_limit: 64m\nmemswap_limit: 128m", "tuning.memory_swap_bytes", 128 << 20),
        ("mem_limit: 64m\nmemswap_limit: -1", "tuning.memory_swap_bytes", -1),
        (
            "blkio_config: {weight: 10, device_write_iops: [{path: /dev/sda, rate: 5}]}",
            "tuning.block_io",
            BlockIo(weight=10, write_iops=(Throttle(path="/dev/sda", rate=5),)),
        ),
        ("mem_limit: 64m", "limits.memory_bytes", 64 << 20),
        ("cpus: 1.5", "limits.cpu_millis", 1500),
        ("cpu_quota: 50000\ncpu_period: 100000", "limits.cpu_millis", 500),
        ("pids_limit: 9", "limits.pids", 9),
        ("pids_limit: -1", "limits.pids", 0),
        ("mem_reservation: 32m", "reservations.memory_bytes", 32 << 20),
        ("gpus: 2", "reservations.devices", {"gpu": 2}),
        ("working_dir: /a/../b", "working_dir", "/b"),
        ("stop_signal: SIGRTMIN+3", "stop_signal", "SIGRTMIN+3"),
        ("stop_signal: 15", "stop_signal", "15"),
        ("platform: linux/arm64/v8", "platform", "linux/arm64/v8"),
        ("pull_policy: always", "pull", PullPolicy.ALWAYS),
        ("pull_policy: if_not_present", "pull", PullPolicy.MISSING),
        ("init: true", "init", True),
        ("tty: true", "tty", True),
        ("stdin_open: true", "stdin", True),
        ('restart: "no"', "restart.condition", RestartCondition.NONE),
        ("restart: unless-stopped", "restart.condition", RestartCondition.ANY),
        (
            "restart: on-failure:3",
            "restart",
            RestartPolicy(condition=RestartCondition.ON_FAILURE, max_attempts=3),
        ),
        ("expose: [80, '90-91/udp']", "ports", ()),
        ("network_mode: bridge", "network_mode", ""),
        ("network_mode: host", "network_mode", "host"),
        ("network_mode: none", "network_mode", "none"),
        ("userns_mode: host", "ports", ()),
    ],
)
def test_what_a_key_becomes(body: str, path: str, value: object) -> None:
    assert read(workload(body), path) == value


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("cap_add: [net admin]", 'cap_add[0]: expected a capability such as NET_ADMIN, got "net'),
        ("user: a b", "user: expected a user such as"),
        ("devices: [vendor/class=name]", "devices[0]: "),
        ("devices: ['/dev/a:/dev/b:rr']", 'devices[0]: expected some of r, w and m, got "rr"'),
        ("device_cgroup_rules: [all]", "device_cgroup_rules[0]: expected a rule such as"),
        ("security_opt: ['seccomp:a.json']", "security_opt[0]: hafen has one filter"),
        ("security_opt: [magic]", 'security_opt[0]: hafen does not know the option "magic"'),
        ("userns_mode: keep-id", "userns_mode: hafen makes no user namespaces"),
        ("hostname: a_b.", "hostname: expected a host name"),
        ("extra_hosts: [a]", 'extra_hosts[0]: "" is no address; write name=address'),
        ("dns: here", "dns: expected an IP address"),
        ("cpuset: all", "cpuset: expected CPUs such as"),
        ("oom_score_adj: 2000", "oom_score_adj: expected a whole number from -1000 to 1000"),
        ("sysctls: {a: 1}", 'sysctls: "a" is no name of a sysctl'),
        ("ulimits: {files: 1}", 'ulimits.files: there is no limit "files"; one is nofile'),
        ("ulimits: {nofile: {soft: 3, hard: 2}}", "ulimits.nofile: soft is 3, more than hard, 2"),
        ("pid: service:db", 'pid: "service:db": a container has pid of its own or'),
        ("ipc: container:x", 'ipc: "container:x": a container has ipc of its own or'),
        ("memswap_limit: 1g", "memswap_limit: it needs a limit of memory, too"),
        ("blkio_config: {weight: 5}", "blkio_config.weight: expected a weight from 10 to 1000"),
        ("gpus: all", "gpus: hafen gives out a number of devices, not all of them"),
        ("working_dir: app", "working_dir: expected an absolute path in the container"),
        ("stop_signal: quickly", "stop_signal: expected a signal such as SIGINT"),
        ("pull_policy: daily", "pull_policy: hafen keeps no time of a pull"),
        ("restart: false", 'restart: write "no" in quotes'),
        ("cgroup_parent: a", "cgroup_parent: a container's cgroup is hafen's own"),
        ("cpu_count: 2", "cpu_count: this is for Windows"),
        ("volumes_from: [db]", "volumes_from: containers of other services"),
        ("post_start: []", "post_start: hafen runs no hooks"),
        ("mac_address: 02:42:ac:11:65:43", "mac_address: hafen chooses the addresses"),
        ("scale: 2\ndeploy: {replicas: 3}", "scale: deploy.replicas says something else"),
        (
            "mem_limit: 64m\ndeploy: {resources: {limits: {memory: 65m}}}",
            "mem_limit: deploy.resources.limits.memory says something else",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_write(body: str, why: str) -> None:
    (line,) = web_problems(body)
    assert line.startswith(why)


@pytest.mark.parametrize(
    ("body", "warning"),
    [
        ("logging: {driver: syslog}", "logging: hafen keeps the logs of containers itself"),
        ("annotations: [a=b]", "annotations: hafen hands no annotations"),
        ("develop: {watch: []}", "develop: it is for `compose watch`"),
        ("attach: false", "attach: `hafen deploy` shows no logs"),
        ("runtime: nvidia", 'runtime: hafen runs everything with crun; "nvidia" is not used'),
        ("security_opt: ['apparmor:x']", "security_opt[0]: hafen sets no AppArmor profile"),
        ("ipc: shareable", "ipc: no other container can share it"),
    ],
)
def test_what_cannot_matter_is_said_and_left_out(body: str, warning: str) -> None:
    (line,) = web_warnings(body)
    assert line.startswith(warning)


def test_what_is_built_is_told_with_its_name() -> None:
    text = """
    services:
      a: {build: ./a}
      b: {build: {context: b, dockerfile: D, target: t, args: [X=1, Y]}, image: "r/b:1"}
      c: {image: c}
    """
    found = understood(text, variables={"Y": "2"}).decoded
    assert [spec.workload.image for spec in found.services] == ["shop-a", "r/b:1", "c"]
    first, second = found.builds
    assert first == Build(image="shop-a", context="/shop/a")
    assert second == msgspec.structs.replace(
        first,
        image="r/b:1",
        context="/shop/b",
        dockerfile="D",
        target="t",
        args={"X": "1", "Y": "2"},
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("build: {target: a}", "build: context is missing: the folder with the Dockerfile"),
        ("build: 'https://example.com/a.git'", 'build: "https://example.com/a.git": hafen builds'),
        ("build: {context: ., secrets: [a]}", "build.secrets: hafen hands no secrets to a build"),
        ("build: {context: ., platforms: [a/b, c/d]}", "build.platforms: hafen builds for one"),
        ("build: {context: ., dockerfile: a, dockerfile_inline: b}", "build: dockerfile and"),
    ],
)
def test_what_cannot_be_built(body: str, why: str) -> None:
    (line,) = web_problems(body)
    assert line.startswith(why)
