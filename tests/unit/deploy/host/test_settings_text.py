"""Settings to text and back."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from deploy.host.settings_text import toml
from shared import settings as settings_file
from shared.settings import EtcdMember, EtcdSettings, SecretsSettings, Settings, TlsSettings
from shared.timing import PROFILES

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SECONDS = st.floats(0.001, 1e6)
PATHS = st.builds(
    lambda name: Path("/", name or "x"), st.from_regex(r"[a-z .'\"]{1,9}", fullmatch=True)
)
MEMBERS = st.builds(
    EtcdMember,
    name=TEXT,
    initial_cluster=st.dictionaries(TEXT, TEXT, max_size=3),
)
SETTINGS = st.builds(
    Settings,
    node=TEXT,
    address=st.ip_addresses(v=4).map(str),
    subnet=st.just("10.9.1.0/24"),
    pool=st.just("10.9.0.0/16"),
    etcd=st.builds(
        EtcdSettings,
        endpoints=st.lists(TEXT, max_size=3).map(tuple),
        user=TEXT,
        password_file=st.none() | PATHS,
    ),
    tls=st.none() | st.builds(TlsSettings, ca=PATHS, cert=PATHS, key=PATHS),
    member=st.none() | MEMBERS,
    scheduler=st.booleans(),
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
    profile=st.sampled_from(tuple(PROFILES)),
    secrets=st.builds(SecretsSettings, key=PATHS),
    devices=st.dictionaries(TEXT, st.lists(TEXT, max_size=3).map(tuple), max_size=3),
    data_dir=PATHS,
    run_dir=PATHS,
)


@given(SETTINGS)
def test_what_is_written_is_what_is_read(settings: Settings) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "hafen.toml")
        path.write_text(toml(settings), encoding="utf-8", newline="")

        assert settings_file.load(path) == settings
