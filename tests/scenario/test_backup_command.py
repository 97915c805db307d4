"""`telomere collector backup` and `restore` as commands: what they refuse, with which words and exit code."""

from __future__ import annotations

import json
from pathlib import Path

from tests.brokers import Mosquitto
from tests.collectors import config_of, running
from tests.outside import telomere


def config(folder: Path, name: str, *, registry: str = "sqlite:") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(
        f'[collector]\ndata_dir = "{name}"\n[registry]\nurl = "{registry}"\n[http]\nlisten = "127.0.0.1:0"\n',
        encoding="utf-8",
    )
    return path


async def refused(*words: object) -> str:
    done = await telomere("collector", *map(str, words))
    assert (done.code, done.out) == (2, "")
    return done.err


async def test_backup_and_restore_beside_a_running_collector(tmp_path: Path, broker: Mosquitto) -> None:
    file, kept = config(tmp_path, "data"), tmp_path / "kept"
    assert "does not exist" in await refused("backup", "--config", file, kept)
    async with running(config_of(tmp_path / "data", broker.url)):
        done = await telomere("collector", "backup", "--config", str(file), str(kept), "--json")
        assert done.code == 0, done.err
        document = json.loads(done.out)
        assert (document["position"]["token"], document["format"]) == ("L0.J0", "telomere-backup-1")
        assert set(document["files"]) == {"ledger.db", "registry.db"}
        assert "is there already" in await refused("backup", "--config", file, kept)
        assert "is not empty" in await refused("restore", "--config", file, kept)
        running_on = await refused("restore", "--config", file, kept, "--force")
        assert "another collector runs" in running_on
        assert "stop the collector" in running_on
        second = await refused("run", "--config", file)
        assert "another collector runs" in second
    done = await telomere("collector", "restore", "--config", str(file), str(kept), "--force", "--json")
    assert done.code == 0, done.err
    document = json.loads(done.out)
    assert document["ledger"] != document["former_ledger"]
    assert (Path(document["moved_aside"]) / "ledger.db").exists()
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["ledger.db", "registry.db"]
    assert "manifest.json" in await refused("restore", "--config", file, tmp_path, "--force")


async def test_a_registry_elsewhere_is_said_not_to_be_built(tmp_path: Path) -> None:
    file = config(tmp_path, "data", registry=f"sqlite:///{tmp_path}/registry.db")
    assert "not built yet" in await refused("backup", "--config", file, tmp_path / "kept")
