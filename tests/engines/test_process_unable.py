"""What a machine cannot give is told with its fix, before anything is started."""

from pathlib import Path

import pytest

from atoll.engines.process import ProcessHost
from atoll.model.spec import Command, Limits, Port, ServiceSpec


def spec(**fields: object) -> ServiceSpec:
    return ServiceSpec(name="orders", run=Command(shell="x"), **fields)  # type: ignore[arg-type]


@pytest.fixture
def host(tmp_path: Path) -> ProcessHost:
    return ProcessHost(tmp_path / "state", tmp_path / "run")


async def test_folders_that_are_there_or_can_be_made_are_fine(host: ProcessHost, tmp_path: Path) -> None:
    assert list(await host.refusals(spec(writable=(str(tmp_path), str(tmp_path / "new" / "below"))))) == []


async def test_limits_that_only_containers_have_are_refused(host: ProcessHost) -> None:
    unable = await host.refusals(spec(limits=Limits(cpus=0.5, pids=10, memory_bytes=2**26)))
    assert [each.what for each in unable] == [
        "limits.cpus is not enforced on processes",
        "limits.pids is not enforced on processes",
    ]
    assert all('engine = "docker"' in each.fix for each in unable)


async def test_a_folder_below_a_file_cannot_be_had(host: ProcessHost, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = str(tmp_path / "file" / "below")
    (unable,) = await host.refusals(spec(writable=(folder,)))
    assert folder in unable.what
    assert "install -d" in unable.fix


@pytest.mark.powerless
async def test_a_folder_that_one_may_not_write_cannot_be_had(host: ProcessHost, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    folder = str(tmp_path / "closed" / "orders")
    (unable,) = await host.refusals(spec(writable=(folder,)))
    assert folder in unable.what


async def test_without_pasta_a_fixed_port_cannot_be_had(host: ProcessHost, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = spec(ports=(Port(number=8080),))
    monkeypatch.setenv("PATH", "/nonexistent")
    (unable,) = await host.refusals(fixed)
    assert unable.what.startswith("ports.http.number needs a network of its own")
    assert "passt" in unable.fix
