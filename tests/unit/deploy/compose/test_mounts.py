"""`volumes`, `tmpfs`, `configs`, `secrets`: what a container has beside its image's files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.compose import canonical, write
from deploy.compose.contents import CONTENT_BYTES_MAX, digest
from shared.model import Mount, MountedFile, MountKind
from tests.unit.deploy.compose.given import problems_beside, understood

TOP = """
volumes:
  data:
  named: {name: elsewhere}
  outside: {external: true}
  old: {external: {name: older}}
"""
VOLUME, BIND, TMPFS = MountKind.VOLUME, MountKind.BIND, MountKind.TMPFS


def mounts(body: str) -> tuple[Mount, ...]:
    """Return the mounts of a service."""
    text = f"services:\n  web:\n    image: a\n    {body}\n{TOP}"
    return understood(text, variables={"HOME": "/home/me"}).decoded.services[0].workload.mounts


def refusals(body: str) -> list[str]:
    """Return what is wrong with a service's mounts."""
    text = f"services:\n  web:\n    image: a\n    {body}\n{TOP}"
    lines = problems_beside({}, text)
    return [line.split("services.web.", maxsplit=1)[1] for line in lines]


@pytest.mark.parametrize(
    ("value", "mount"),
    [
        ("'data:/d'", Mount(kind=VOLUME, target="/d", source="shop_data")),
        ("'data:/d:ro'", Mount(kind=VOLUME, target="/d", source="shop_data", read_only=True)),
        ("'data:/d:nocopy'", Mount(kind=VOLUME, target="/d", source="shop_data", copy=False)),
        ("'named:/d'", Mount(kind=VOLUME, target="/d", source="elsewhere")),
        ("'outside:/d'", Mount(kind=VOLUME, target="/d", source="outside")),
        ("'old:/d'", Mount(kind=VOLUME, target="/d", source="older")),
        ("/d", Mount(kind=VOLUME, target="/d")),
        ("{type: volume, target: /d}", Mount(kind=VOLUME, target="/d")),
        (
            "{type: volume, source: data, target: /d, volume: {subpath: a//b/.}}",
            Mount(kind=VOLUME, target="/d", source="shop_data", subpath="a/b"),
        ),
        ("'./a:/d'", Mount(kind=BIND, target="/d", source="/shop/a")),
        ("'.:/d'", Mount(kind=BIND, target="/d", source="/shop")),
        ("'../a/:/d/'", Mount(kind=BIND, target="/d", source="/a")),
        ("'~/a:/d'", Mount(kind=BIND, target="/d", source="/home/me/a")),
        (
            "'/a:/d:ro,rslave'",
            Mount(kind=BIND, target="/d", source="/a", read_only=True, propagation="rslave"),
        ),
        (
            "{type: bind, source: a, target: /d, bind: {create_host_path: false}}",
            Mount(kind=BIND, target="/d", source="/shop/a", create=False),
        ),
        (
            "{type: tmpfs, target: /d, tmpfs: {size: 1m, mode: 0700}}",
            Mount(kind=TMPFS, target="/d", size_bytes=1 << 20, mode=0o700),
        ),
    ],
)
def test_forms_of_a_mount(value: str, mount: Mount) -> None:
    assert mounts(f"volumes: [{value}]") == (mount,)


@pytest.mark.parametrize(
    ("value", "mount"),
    [
        ("/t", Mount(kind=TMPFS, target="/t")),
        (
            "['/t:size=1m,mode=755,noexec']",
            Mount(kind=TMPFS, target="/t", size_bytes=1 << 20, mode=0o755),
        ),
        ("['/t:ro']", Mount(kind=TMPFS, target="/t", read_only=True)),
    ],
)
def test_forms_of_a_tmpfs(value: str, mount: Mount) -> None:
    assert mounts(f"tmpfs: {value}") == (mount,)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("volumes: ['no:/d']", 'volumes[0]: there is no volume "no" in `volumes` at the top'),
        ("volumes: [data]", "volumes[0]: expected an absolute path in the container, got"),
        ("volumes: ['data:d']", "volumes[0]: expected an absolute path in the container, got"),
        ("volumes: ['data:/']", "volumes[0]: nothing can be mounted over the container's root"),
        ("volumes: ['a/b:/d']", 'volumes[0]: "a/b" is neither a volume\'s name nor a path'),
        ("volumes: ['data:/d:fast']", 'volumes[0]: hafen does not know the option "fast"'),
        ("volumes: ['a:b:c:d']", "volumes[0]: expected a mount such as"),
        ("volumes: [{target: /d}]", "volumes[0]: type is missing: volume, bind or tmpfs"),
        ("volumes: [{type: image, target: /d}]", "volumes[0].type: hafen does not mount image"),
        ("volumes: ['data:/d', 'named:/d']", 'volumes: two things are mounted at "/d"'),
        (
            "volumes: [{type: volume, source: data, target: /d, volume: {subpath: ../x}}]",
            "volumes[0].volume.subpath: expected a path inside the volume, without ..",
        ),
        ("tmpfs: ['/t:uid=5']", "tmpfs[0]: hafen does not know the option uid"),
    ],
)
def test_what_cannot_be_mounted(body: str, why: str) -> None:
    (line,) = refusals(body)
    assert line.startswith(why)


def test_a_path_beside_the_file_is_said_to_be_the_nodes_once() -> None:
    text = """
    services:
      a: {image: a, volumes: ['/etc/x:/x']}
      b: {image: b, volumes: ['./b:/b', './c:/c']}
      c: {image: c, volumes: ['.:/all']}
    """
    assert understood(text).warnings == (
        (
            'compose.yaml:4: services.b.volumes: "/shop/b" is mounted from the node that runs the '
            "container, not from this computer; put it there, into the image, or into configs"
        ),
    )


def test_a_volume_that_is_no_folder_of_a_node_is_refused() -> None:
    text = "services: {a: {image: a}}\nvolumes: {n: {driver: nfs}, o: {driver_opts: {type: nfs}}}"
    assert [line.split(": ", 2)[1] for line in problems_beside({}, text)] == [
        "volumes.n.driver",
        "volumes.o.driver_opts",
    ]


FILES = """
services:
  web:
    image: a
    configs: [app, {source: inline, target: conf/x, mode: 0440, uid: "7", gid: 8}]
    secrets: [pw, {source: token, target: /etc/token}]
configs: {app: {file: app.conf}, inline: {content: "x = $X"}}
secrets: {pw: {file: pw.txt}, token: {environment: TOKEN}, unused: {file: pw.txt}}
"""


def test_configs_and_secrets_are_files_whose_names_say_what_is_in_them() -> None:
    found = understood(
        FILES,
        beside={"app.conf": "a", "pw.txt": "hunter2"},
        variables={"X": "1", "TOKEN": "t0ken"},
    )
    app, inline, password, token = found.decoded.services[0].workload.files
    assert app == MountedFile(content=f"shop/app/{digest('shop', b'a')}", target="/app")
    assert (inline.target, inline.mode, inline.uid, inline.gid) == ("/conf/x", 0o440, "7", "8")
    assert (password.target, password.is_secret) == ("/run/secrets/pw", True)
    assert token.target == "/etc/token"
    assert {name.split("/")[1]: value for name, value in found.decoded.contents.items()} == {
        "app": b"a",
        "inline": b"x = 1",
        "pw": b"hunter2",
        "token": b"t0ken",
    }


def test_what_secrets_hold_is_in_nothing_that_is_shown() -> None:
    found = understood(
        FILES,
        beside={"app.conf": "a", "pw.txt": "hunter2"},
        variables={"X": "1", "TOKEN": "t0ken"},
    )
    text = write.yaml(canonical.model(found.tree, found.name, found.decoded, frozenset()))
    assert "pw.txt" in text
    assert not [word for word in ("hunter2", "t0ken") if word in text or word in repr(found.tree)]


@given(st.binary(max_size=20), st.binary(max_size=20))
def test_a_digest_stands_for_one_content_of_one_stack(one: bytes, other: bytes) -> None:
    assert (digest("a", one) == digest("a", other)) == (one == other)
    assert digest("a", one) != digest("b", one)
    assert len(digest("a", one)) == 32


@pytest.mark.parametrize(
    ("top", "why"),
    [
        ("secrets: {s: {external: true}}", "secrets.s.external: hafen keeps none outside"),
        ("secrets: {s: {file: no.txt}}", 'secrets.s.file: cannot read "no.txt": no such file'),
        ("secrets: {s: {environment: NO}}", 'secrets.s.environment: variable "NO" is not set'),
        ("secrets: {s: {file: a, environment: B}}", "secrets.s: expected one of file or env"),
        ("secrets: {s: }", "secrets.s: expected a mapping, got nothing"),
        ("secrets: {s: {content: a}}", "secrets.s.content: hafen does not know this key yet"),
        ("configs: {s: {template_driver: golang}}", "configs.s.template_driver: hafen fills in"),
        ("configs: {s: {file: big.txt}}", f"configs.s: {CONTENT_BYTES_MAX + 1} bytes; "),
        ("configs: {'a/b': {content: a}}", 'configs."a/b": "a/b": use at most 64 of'),
        (
            "services: {web: {image: a, secrets: [x]}}",
            'services.web.secrets[0]: there is no "x" in `secrets` at the top of the file',
        ),
    ],
)
def test_contents_that_cannot_be_had(top: str, why: str) -> None:
    text = top if top.startswith("services") else f"services: {{web: {{image: a}}}}\n{top}"
    beside = {"a": "a", "big.txt": "x" * (CONTENT_BYTES_MAX + 1)}
    lines = [line.split(": ", 1)[1] for line in problems_beside(beside, text)]
    assert len(lines) == 1
    assert lines[0].startswith(why)
