"""Images made by a real dockerd, and what becomes of them there."""

import asyncio
import json
import os
import subprocess
from pathlib import Path

import pytest
from tests.pipeline.conftest import Yard

from atoll.model.environment import DockerSpec, EnvironmentSpec, WorkspaceSpec
from atoll.model.state import Artifact
from atoll.pipeline.build import build_all
from atoll.pipeline.collect import collect
from atoll.pipeline.docker import Docker
from dockerd import Dockerd


def test_a_dockerfile_becomes_the_artifact(yard: Yard, runtime: str) -> None:
    yard.write("orders/app.py", "print('orders')")
    yard.write("orders/notes.md")
    yard.write("orders/.dockerignore", "*.md")
    spec = yard.image(
        "orders", f"FROM {runtime}\nENV PATH=/srv/bin:$PATH\nWORKDIR /srv\nCOPY . .\nUSER 1234\n", args={"X": "1"}
    )
    made = yard.one(spec)
    assert made.image is not None
    assert (made.image.folder, made.image.user) == ("/srv", "1234")
    assert made.command_env["PATH"].startswith("/srv/bin:/usr/local/sbin")
    assert yard.run(made, "sh", "-c", "ls && id -u && python3 app.py").split() == ["app.py", "1234", "orders"]
    labels = json.loads(yard.daemon.docker("image", "inspect", "--format", "{{json .Config.Labels}}", made.image.id))
    assert labels["dev.atoll.key"] == made.key
    assert {path.name for path in Path(made.path, ".atoll").iterdir()} == {"Dockerfile", "image.json"}
    assert not yard.half_made()
    yard.progress.clear()
    assert yard.one(spec) == made
    assert [each.phase for each in yard.progress][-1] == "cached"


def test_an_image_that_was_pruned_behind_our_back_is_built_again(yard: Yard, runtime: str) -> None:
    spec = yard.image("orders", f"FROM {runtime}\nRUN echo 1 > /one\n")
    made = yard.one(spec)
    assert made.image is not None
    yard.daemon.docker("image", "rm", "--force", made.image.id)
    again = yard.one(spec)
    assert again.key == made.key
    assert yard.run(again, "cat", "/one") == "1"


def test_a_failing_instruction_is_told_with_the_end_of_its_output(yard: Yard, runtime: str) -> None:
    failed = yard.failure(yard.image("orders", f"FROM {runtime}\nRUN echo this is why >&2 && exit 7\n"))
    assert failed.id == "build-step-failed"
    assert "this is why" in failed.why
    assert not yard.half_made()
    left = yard.daemon.docker(
        "ps", "--all", "--quiet", "--filter", "status=exited", "--filter", "label=dev.atoll.image"
    )
    assert not left


def test_a_base_that_nobody_has_is_named_with_the_fix(yard: Yard) -> None:
    failed = yard.failure(yard.image("orders", "FROM 127.0.0.1:1/no/such:1\n"))
    assert failed.id == "image-unavailable"
    assert "127.0.0.1:1/no/such" in failed.why
    assert "[image] base" in failed.fix


def test_without_dockerd_it_is_said_how_to_get_it(yard: Yard, runtime: str) -> None:
    spec = yard.image("orders", f"FROM {runtime}\n")
    yard.daemon = Dockerd(Path("/nonexistent"), Path("/nonexistent"), 0)
    failed = yard.failure(spec)
    assert failed.id == "docker-unreachable"
    assert "systemctl start docker" in failed.fix


def test_without_dockers_command_line_it_is_said_how_to_get_it(
    yard: Yard, runtime: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = yard.image("orders", f"FROM {runtime}\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    failed = yard.failure(spec)
    assert failed.id == "tool-missing"
    assert "docker.io" in failed.fix


def test_a_prebuilt_image_is_taken_as_it_is(yard: Yard, runtime: str) -> None:
    id = yard.daemon.docker("image", "inspect", "--format", "{{.Id}}", runtime).strip()
    made = yard.one(yard.image("mailer", ref=id))
    assert made.image is not None
    assert made.image.id == id


def test_results_of_needs_lie_in_the_context(yard: Yard, runtime: str) -> None:
    yard.write("orders/made.txt", "by the build")
    spec = yard.image("orders", f"FROM {runtime}\nCOPY .atoll/needs/build/made.txt /made\n", needs=("build",))

    workspace = WorkspaceSpec(
        name="w", root=str(yard.root), environment=EnvironmentSpec(engine="docker"), services={"orders": spec}
    )
    made = asyncio.run(build_all([spec], yard.site, workspace=workspace))["orders"]
    assert isinstance(made, Artifact), made
    assert yard.run(made, "cat", "/made") == "by the build"


@pytest.mark.parametrize("buildkit", ["0", "1"])
def test_both_builders_make_it(yard: Yard, runtime: str, buildkit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """BuildKit without buildx is in a command line before version 23, and in no later one."""
    said = subprocess.run(["/usr/bin/docker", "--version"], capture_output=True, text=True, check=False).stdout
    if buildkit == "1" and " 20." not in said:
        pytest.skip(f"/usr/bin/docker has no BuildKit of its own: {said}")
    monkeypatch.setenv("PATH", f"/usr/bin:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_BUILDKIT", buildkit)
    yard.write("orders/app.py")
    made = yard.one(yard.image("orders", f"FROM {runtime} AS one\nRUN touch /b{buildkit}\nFROM one\nCOPY app.py /\n"))
    assert yard.run(made, "ls", "/app.py", f"/b{buildkit}").split() == ["/app.py", f"/b{buildkit}"]


def test_buildkit_without_buildx_is_told_with_the_way_on(
    yard: Yard, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(yard.root))  # no plugins of whoever runs this
    monkeypatch.delenv("DOCKER_BUILDKIT", raising=False)
    buildx = subprocess.run(["docker", "buildx", "version"], capture_output=True, check=False).returncode == 0
    if buildx or Docker(DockerSpec()).env.get("DOCKER_BUILDKIT"):
        pytest.skip("`docker` has BuildKit")
    spec = yard.image("orders", f"FROM {runtime}\n")
    monkeypatch.setenv("DOCKER_BUILDKIT", "1")
    failed = yard.failure(spec)
    assert failed.id == "tool-missing"
    assert "buildx" in failed.what
    assert "DOCKER_BUILDKIT" in failed.fix
    monkeypatch.delenv("DOCKER_BUILDKIT")
    assert yard.one(spec).image, "nobody asked: the classic builder made it"


def test_an_image_is_collected_with_its_artifact_unless_somebody_needs_it(yard: Yard, runtime: str) -> None:
    made = {
        name: yard.one(yard.image(name, f"FROM {runtime}\nRUN echo {name} > /name\n"))
        for name in ("kept", "running", "idle", "elsewhere")
    }
    ids = {name: each.image.id for name, each in made.items() if each.image}
    container = yard.daemon.docker("run", "--detach", "--rm", ids["running"], "sleep", "600").strip()
    yard.daemon.docker("tag", ids["elsewhere"], "atoll-test-other:1")
    try:
        planned = collect(yard.artifacts, {made["kept"].key}, max_age_s=0, max_bytes=0, fresh_s=0, plan=True)
        assert len(planned.removed) == 3
        assert all(yard.daemon.docker("image", "inspect", id) for id in ids.values())
        done = collect(yard.artifacts, {made["kept"].key}, max_age_s=0, max_bytes=0, fresh_s=0)
        assert set(done.removed) == {made["idle"].key, made["elsewhere"].key}
        left = yard.daemon.docker("image", "ls", "--quiet", "--no-trunc").split()
        assert {name for name, id in ids.items() if id in left} == {"kept", "running", "elsewhere"}
        assert yard.one(yard.image("running")) == made["running"]
    finally:
        yard.daemon.docker("kill", container)
        yard.daemon.docker("image", "rm", "atoll-test-other:1")


def test_while_dockerd_is_away_images_and_their_artifacts_stay(yard: Yard, runtime: str) -> None:
    yard.one(yard.image("orders", f"FROM {runtime}\n"))
    (yard.artifacts / ".cache" / "dockerds").write_text("/nonexistent/docker.sock\n")
    assert collect(yard.artifacts, set(), max_age_s=0, max_bytes=0, fresh_s=0).removed == ()


def test_a_full_disk_of_dockerd_is_told_as_such(yard: Yard, runtime: str) -> None:
    full = "dd if=/dev/zero of=/small/file bs=1M count=4"
    yard.write(
        "orders/full.sh",
        f"mkdir /small && mount -t tmpfs -o size=1m tmpfs /small && {full} || {full.replace('/small/file', '/dev/full')}",
    )
    failed = yard.failure(yard.image("orders", f"FROM {runtime}\nCOPY full.sh /\nRUN sh /full.sh\n"))
    assert failed.id == "disk-full"
    assert "docker system df" in failed.fix
    assert "No space left on device" in failed.why
