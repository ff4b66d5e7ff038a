"""Configs and secrets: sealed with the host's key on their way into the store."""

from pathlib import Path

import msgspec
import pytest

from shared import codec, keys
from shared.api import StackUpload
from shared.errors import HafenError
from shared.model import Content, MountedFile
from shared.seal import KEY_BYTES, unseal
from shared.settings import SecretsSettings
from shared.store import under
from tests.build import service
from tests.integration.api_rig import SHOP, cluster

NAME = "shop/cfg/abc"
KEY = bytes(range(KEY_BYTES))


def mounting() -> StackUpload:
    one = service()
    files = (MountedFile(content=NAME, target="/cfg"),)
    spec = msgspec.structs.replace(one, workload=msgspec.structs.replace(one.workload, files=files))
    return StackUpload(services=(spec,), contents={NAME: b"\0 plain"})


async def test_a_secret_is_stored_so_that_only_the_clusters_key_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "secrets.key"
    path.write_bytes(KEY)
    path.chmod(0o600)
    async with cluster(tmp_path, secrets=SecretsSettings(key=path)) as (rig, client):
        await client.deploy(SHOP, mounting())
        (item,) = (await rig.other.list(under(keys.CONTENTS))).items

    content = codec.decode(Content, item.value, item.key)
    assert item.key == keys.content(NAME)
    assert unseal(KEY, item.key, content.sealed) == b"\0 plain"
    assert b"plain" not in item.value


async def test_without_the_clusters_key_a_stack_with_secrets_is_refused(tmp_path: Path) -> None:
    nowhere = SecretsSettings(key=tmp_path / "nowhere")
    async with cluster(tmp_path, secrets=nowhere) as (rig, client):
        with pytest.raises(HafenError, match="nowhere: No such file or directory: configs and"):
            await client.deploy(SHOP, mounting())
        stored = (await rig.other.list(under(keys.STACKS))).items

    assert stored == ()
