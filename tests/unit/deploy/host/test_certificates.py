"""Certificates that TLS itself accepts, or refuses."""

import datetime as dt
import os
import ssl
import stat
from pathlib import Path

import pytest

from deploy.host.certificates import Authority, Issued, write_issued
from deploy.host.checks import certificate_problems, key_problems
from deploy.host.files import write_file
from shared.errors import SettingsError
from shared.settings import TlsSettings

NOW = dt.datetime.now(dt.UTC)


def authority() -> Authority:
    return Authority.make("test", now=NOW, valid_days=2)


def write(directory: Path, issuer: Authority, issued: Issued) -> TlsSettings:
    directory.mkdir()
    files = TlsSettings(ca=directory / "ca", cert=directory / "cert", key=directory / "key")
    issuer.write(files.ca, directory / "ca.key")
    write_issued(issued, files.cert, files.key)
    return files


def context(files: TlsSettings, *, server: bool) -> ssl.SSLContext:
    side = ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT
    made = ssl.SSLContext(side)
    made.load_verify_locations(files.ca)
    made.load_cert_chain(files.cert, files.key)
    made.verify_mode = ssl.CERT_REQUIRED
    return made


def shake_hands(server: TlsSettings, client: TlsSettings, name: str) -> None:
    """Do a mutual handshake in memory."""
    wires = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = context(server, server=True).wrap_bio(wires[0], wires[1], server_side=True)
    asking = context(client, server=False).wrap_bio(wires[1], wires[0], server_hostname=name)
    waiting = [asking, serving]
    while waiting:
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue
    # With TLS 1.3 the server's verdict on the client comes with the first data.
    serving.write(b"x")
    assert asking.read() == b"x"


@pytest.mark.parametrize("name", ["node-1", "10.0.0.1", "127.0.0.1", "localhost"])
def test_a_node_is_trusted_under_all_its_names(tmp_path: Path, name: str) -> None:
    issuer = authority()
    one = write(
        tmp_path / "1", issuer, issuer.issue_node("node-1", "10.0.0.1", now=NOW, valid_days=1)
    )
    two = write(
        tmp_path / "2", issuer, issuer.issue_node("node-2", "10.0.0.2", now=NOW, valid_days=1)
    )

    shake_hands(one, two, name)


def test_a_node_is_not_trusted_under_another_name(tmp_path: Path) -> None:
    issuer = authority()
    one = write(
        tmp_path / "1", issuer, issuer.issue_node("node-1", "10.0.0.1", now=NOW, valid_days=1)
    )

    with pytest.raises(ssl.SSLCertVerificationError, match="node-2"):
        shake_hands(one, one, "node-2")


def test_a_stranger_s_certificate_is_refused(tmp_path: Path) -> None:
    issuer, stranger = authority(), authority()
    one = write(
        tmp_path / "1", issuer, issuer.issue_node("node-1", "10.0.0.1", now=NOW, valid_days=1)
    )
    theirs = stranger.issue_node("node-1", "10.0.0.1", now=NOW, valid_days=1)
    two = write(tmp_path / "2", issuer, theirs)

    with pytest.raises(ssl.SSLError):
        shake_hands(one, two, "node-1")


def test_an_operator_can_ask_but_not_serve(tmp_path: Path) -> None:
    issuer = authority()
    node = write(
        tmp_path / "n", issuer, issuer.issue_node("node-1", "10.0.0.1", now=NOW, valid_days=1)
    )
    person = write(tmp_path / "p", issuer, issuer.issue_operator("operator", now=NOW, valid_days=1))

    shake_hands(node, person, "node-1")
    with pytest.raises(ssl.SSLError):
        shake_hands(person, node, "operator")


def test_an_authority_read_back_makes_members_of_the_same_cluster(tmp_path: Path) -> None:
    first = authority()
    first.write(tmp_path / "ca.crt", tmp_path / "ca.key")
    again = Authority.load(tmp_path / "ca.crt", tmp_path / "ca.key")
    one = write(
        tmp_path / "1", first, first.issue_node("node-1", "10.0.0.1", now=NOW, valid_days=1)
    )
    two = write(
        tmp_path / "2", again, again.issue_node("node-2", "10.0.0.2", now=NOW, valid_days=1)
    )

    shake_hands(one, two, "node-1")


def test_garbage_is_no_authority(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("garbage")

    with pytest.raises(SettingsError, match="certificate authority"):
        Authority.load(tmp_path / "ca", tmp_path / "ca")


def test_only_the_owner_can_read_keys_whatever_was_there_before(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("old")
    (tmp_path / "key").chmod(0o644)

    authority().write(tmp_path / "cert", tmp_path / "key")

    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "cert").stat().st_mode) == 0o644
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["cert", "key"]


def test_the_mode_does_not_depend_on_who_calls(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        authority().write(tmp_path / "cert", tmp_path / "key")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "cert").stat().st_mode) == 0o644


def test_a_file_is_replaced_whole_even_after_a_crash_in_between(tmp_path: Path) -> None:
    (tmp_path / ".x.new").write_text("half")

    write_file(tmp_path / "x", b"whole", 0o600)

    assert (tmp_path / "x").read_bytes() == b"whole"
    assert not (tmp_path / ".x.new").exists()


def test_good_certificates_are_no_problem(tmp_path: Path) -> None:
    issuer = authority()
    files = write(tmp_path / "1", issuer, issuer.issue_node("n", "10.0.0.1", now=NOW, valid_days=1))

    assert certificate_problems(files, now=NOW) == []
    assert certificate_problems(None, now=NOW) == []


def test_an_expired_certificate_is_named(tmp_path: Path) -> None:
    issuer = authority()
    files = write(tmp_path / "1", issuer, issuer.issue_node("n", "10.0.0.1", now=NOW, valid_days=1))

    problems = certificate_problems(files, now=NOW + dt.timedelta(hours=36))

    assert len(problems) == 1
    assert str(files.cert) in problems[0]
    assert "not now" in problems[0]


def test_another_s_key_a_readable_key_and_a_missing_file_are_named(tmp_path: Path) -> None:
    issuer = authority()
    files = write(tmp_path / "1", issuer, issuer.issue_node("n", "10.0.0.1", now=NOW, valid_days=1))
    files.key.write_bytes(issuer.issue_operator("o", now=NOW, valid_days=1).key)
    files.key.chmod(0o640)

    assert certificate_problems(files, now=NOW) == [
        f"{files.key} is not the key of {files.cert}",
        f"{files.key} can be read by others: chmod 600 {files.key}",
    ]
    files.ca.unlink()
    assert certificate_problems(files, now=NOW) == [
        f"certificates: {files.ca}: No such file or directory"
    ]


def test_a_host_may_have_no_key_for_secrets_but_not_one_that_others_can_read(
    tmp_path: Path,
) -> None:
    key = tmp_path / "secrets.key"
    assert key_problems(key) == []
    write_file(key, b"k" * 32, 0o600)
    assert key_problems(key) == []
    key.chmod(0o644)
    assert key_problems(key) == [f"{key} can be read by others: chmod 600 {key}"]
