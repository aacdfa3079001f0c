"""Builds as a whole: what comes out, what is reused, how one fails, and that others do not mind."""

import os
import stat
from pathlib import Path

import msgspec
import pytest
from killing import own_seconds

from atoll.model.errors import BuildFailed, UserError
from atoll.model.spec import Build, Command, Plain, ServiceSpec
from atoll.model.state import Artifact
from atoll.pipeline.artifacts import Artifacts
from atoll.pipeline.key import differences


def test_an_artifact_is_the_inputs_and_what_the_steps_made_read_only_for_everybody(workshop) -> None:
    workshop.write("orders/app.sh", "#!/bin/sh\n", 0o700)
    workshop.write("orders/sub/data.txt", "1")
    workshop.write("orders/service.toml", 'name = "orders"\n')
    artifact = workshop.one(workshop.spec("orders", "cat sub/data.txt > made.txt", "ln -s made.txt link"))
    folder = Path(artifact.path)
    assert folder == workshop.artifacts / artifact.key
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*")}
    assert set(found) == {"app.sh", "sub", "sub/data.txt", "made.txt", "link"}
    assert found["link"].read_text() == "1"
    modes = {name: stat.S_IMODE(path.stat().st_mode) for name, path in found.items()}
    assert modes == {"app.sh": 0o555, "sub": 0o555, "sub/data.txt": 0o444, "made.txt": 0o444, "link": 0o444}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o555
    assert (artifact.builder, workshop.half_made()) == ("command", [])


def test_a_second_build_of_the_same_reuses_and_every_edit_is_seen(workshop) -> None:
    file = workshop.write("orders/a.txt", "one")
    spec = workshop.spec("orders", "date +%N > made")
    first = workshop.one(spec)
    workshop.progress.clear()
    assert workshop.one(spec) == first
    assert [progress.phase for progress in workshop.progress] == ["hashing", "cached"]
    file.write_text("two")
    second = workshop.one(spec)
    file.chmod(0o755)
    third = workshop.one(spec)
    assert len({first.key, second.key, third.key}) == 3
    file.chmod(0o644)
    file.write_text("one")
    assert workshop.one(spec) == first
    place = Artifacts(workshop.artifacts)
    assert differences(place.find(first.key).manifest, place.find(second.key).manifest) == ("a.txt changed",)


def test_the_key_ignores_how_it_is_run_and_where(workshop) -> None:
    workshop.write("orders/a.txt", "one")
    spec = workshop.spec("orders", "true")
    first = workshop.one(spec)
    workshop.write("orders/service.toml", "# edited")
    other = msgspec.structs.replace(spec, run=Command(shell="other"), env={"A": Plain("1")}, replicas=3)
    assert workshop.one(other).key == first.key
    assert workshop.one(workshop.spec("orders", "true", env={"A": "1"})).key != first.key
    assert workshop.one(workshop.spec("orders", "true", outputs=("a.txt",))).key != first.key


def test_two_services_with_equal_builds_share_one_artifact(workshop) -> None:
    for name in ("one", "two"):
        workshop.write(f"{name}/a.txt", "same")
    results = workshop.build(*[workshop.spec(name, "sleep 0.3; date +%N > made") for name in ("one", "two")])
    assert results["one"] == results["two"]
    assert len([path for path in workshop.artifacts.iterdir() if not path.name.startswith(".")]) == 1


def test_only_the_outputs_are_kept(workshop) -> None:
    workshop.write("orders/src/main.c", "")
    spec = workshop.spec("orders", "mkdir -p dist/deep && touch dist/deep/app other", outputs=("dist",))
    folder = Path(workshop.one(spec).path)
    assert {str(path.relative_to(folder)) for path in folder.rglob("*")} == {"dist", "dist/deep", "dist/deep/app"}


def test_a_service_without_any_file_can_be_built(workshop) -> None:
    artifact = workshop.one(workshop.spec("orders"))
    assert list(Path(artifact.path).iterdir()) == []


def test_the_digest_is_that_of_the_content(workshop) -> None:
    workshop.write("one/a.txt", "same")
    workshop.write("two/a.txt", "same")
    one = workshop.one(workshop.spec("one", "true"))
    two = workshop.one(workshop.spec("two", "true; true"))
    other = workshop.one(workshop.spec("two", "echo x > a.txt"))
    assert one.digest == two.digest != other.digest
    assert one.key != two.key


def test_a_failing_build_fails_alone_and_shows_the_end_of_what_it_printed(workshop) -> None:
    results = workshop.build(
        workshop.spec("good", "sleep 0.1"),
        workshop.spec(
            "bad", "for i in $(seq 100); do echo line $i; done; printf '\\033[31mred\\033[0m\\n' >&2; exit 3"
        ),
    )
    assert isinstance(results["good"], Artifact)
    failed = results["bad"]
    assert isinstance(failed, BuildFailed)
    assert failed.what.startswith("step 1 of 1")
    assert failed.what.endswith("ended with exit code 3")
    lines = failed.output.split("\n")
    assert lines[-2:] == ["line 100", "red"]
    assert len(lines) == 40
    log = Path(failed.fix.rpartition(" ")[2])
    assert "line 1\n" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert workshop.half_made() == []
    assert [progress.phase for progress in workshop.progress if progress.service == "bad"][-1] == "failed"


def test_a_failure_shows_the_step_that_failed_and_the_log_shows_all_of_them(workshop) -> None:
    written = "printf '%s\\n' 'FROM golang' > Dockerfile"
    failed = workshop.failure(workshop.spec("bad", "echo earlier", f"{written}\ncat Dockerfile; exit 3"))
    assert failed.output == f"$ {written} …\nFROM golang"
    said = Path(failed.fix.rpartition(" ")[2]).read_text()
    assert said == f"$ echo earlier\nearlier\n$ {written}\ncat Dockerfile; exit 3\nFROM golang\n"
    silent = workshop.failure(workshop.spec("bad", "echo earlier", "exit 3"))
    assert silent.output == "$ exit 3"


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((Command(argv=("no-such-tool", "x")),), "no-such-tool is missing: it is not on the PATH"),
        ((Command(argv=("./not-there",)),), "the command was not found"),
        ((Command(shell="kill -9 $$"),), "killed by signal 9"),
    ],
)
def test_what_went_wrong_is_said(workshop, steps: tuple[Command, ...], said: str) -> None:
    spec = workshop.spec("orders")
    failed = workshop.failure(msgspec.structs.replace(spec, build=msgspec.structs.replace(spec.build, steps=steps)))
    assert said in failed.what
    assert failed.fix
    assert workshop.half_made() == []


def test_a_service_without_a_folder_fails_alone(workshop) -> None:
    spec = ServiceSpec(name="ghost", folder="ghost", run=Command(argv=("x",)))
    results = workshop.build(spec, workshop.spec("good"))
    assert isinstance(results["ghost"], BuildFailed)
    assert "there is no folder" in results["ghost"].what
    assert isinstance(results["good"], Artifact)


def test_a_build_that_takes_too_long_is_ended_with_all_its_processes(workshop, processes_with) -> None:
    marker = own_seconds()
    spec = workshop.spec("orders", f"(setsid sleep {marker} &) ; sleep {marker}", timeout_s=1.0)
    failed = workshop.failure(spec)
    assert failed.what == "the build took longer than 1 s"
    assert processes_with(f"sleep {marker}") == []
    assert workshop.half_made() == []


def test_daemons_that_a_build_leaves_are_ended_and_hold_nothing_up(workshop, processes_with) -> None:
    marker = own_seconds()
    workshop.one(workshop.spec("orders", f"(setsid sleep {marker} &) ; echo started"))
    assert processes_with(f"sleep {marker}") == []


def test_a_build_sees_what_was_declared_and_little_else(workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER", "stray")
    monkeypatch.setenv("PIP_INDEX_URL", "mirror")
    monkeypatch.setenv("UV_PROJECT_ENVIRONMENT", "/elsewhere")
    artifact = workshop.one(workshop.spec("orders", "env > env.txt; touch $TMPDIR/x; cat > in.txt", env={"A": "1"}))
    env = dict(line.split("=", 1) for line in (Path(artifact.path) / "env.txt").read_text().splitlines() if "=" in line)
    assert env["A"] == "1"
    assert env["PIP_INDEX_URL"] == "mirror"
    assert env["HOME"] == os.environ["HOME"]
    assert env["PWD"] == artifact.path
    assert not {"OTEL_EXPORTER", "UV_PROJECT_ENVIRONMENT"} & env.keys()
    assert not Path(env["TMPDIR"]).exists()
    assert (Path(artifact.path) / "in.txt").read_text() == "", "standard input is empty"


def test_progress_tells_each_step_and_the_last_line(workshop) -> None:
    workshop.one(workshop.spec("orders", "echo one; sleep 0.3", "echo two; sleep 0.3"))
    building = [each for each in workshop.progress if each.phase == "building"]
    assert {(each.step, each.steps) for each in building} == {(1, 2), (2, 2)}
    assert "one" in {each.line for each in building}
    assert [each.phase for each in workshop.progress][-2:] == ["sealing", "done"]
    seconds = [each.seconds for each in workshop.progress]
    assert seconds == sorted(seconds)


def test_not_more_builds_than_jobs_run_at_one_time(workshop) -> None:
    shared = workshop.root / "running"
    shared.mkdir()
    step = f"mkdir {shared}/one && sleep 0.05 && rmdir {shared}/one"
    results = workshop.build(*[workshop.spec(f"s{n}", f"{step}; true {n}") for n in range(4)], jobs=1)
    assert all(isinstance(result, Artifact) for result in results.values()), results


def test_what_is_linked_to_files_elsewhere_is_copied_before_it_is_made_read_only(workshop) -> None:
    cache = workshop.write("cache/file", "shared")
    folder = Path(workshop.one(workshop.spec("orders", f"ln {cache} mine")).path)
    assert (folder / "mine").read_text() == "shared"
    assert stat.S_IMODE(cache.stat().st_mode) & 0o200
    assert cache.stat().st_nlink == 1


def test_output_without_end_is_kept_within_bounds(workshop) -> None:
    failed = workshop.failure(workshop.spec("orders", "yes 0123456789 | head -c 12000000; echo the end; exit 1"))
    log = Path(failed.fix.rpartition(" ")[2])
    assert log.stat().st_size < 3 << 20
    text = log.read_text()
    assert "bytes left out" in text
    assert text.rstrip().endswith("the end")
    assert failed.output.endswith("the end")


def test_an_artifacts_folder_that_cannot_be_used_is_one_clear_error(workshop) -> None:
    workshop.write(".atoll/artifacts", "a file")
    with pytest.raises(UserError) as caught:
        workshop.build(workshop.spec("orders"), workshop.spec("other"))
    assert str(workshop.artifacts) in caught.value.what
    assert caught.value.fix


@pytest.mark.powerless
def test_an_unwritable_artifacts_folder_is_one_clear_error(workshop) -> None:
    workshop.artifacts.mkdir(parents=True)
    workshop.artifacts.chmod(0o555)
    try:
        with pytest.raises(UserError, match="cannot be written"):
            workshop.build(workshop.spec("orders"))
    finally:
        workshop.artifacts.chmod(0o755)


def test_a_damaged_record_is_no_artifact(workshop) -> None:
    spec = workshop.spec("orders", "date +%N > made")
    first = workshop.one(spec)
    (workshop.artifacts / ".records" / first.key).write_text('{"from": "the future"}')
    assert workshop.one(spec).key == first.key
    assert Artifacts(workshop.artifacts).find(first.key) is not None
    assert workshop.half_made() == []


def test_an_artifacts_folder_that_was_moved_is_built_anew_and_one_seen_through_a_link_is_not(workshop) -> None:
    spec = workshop.spec("orders", "date +%N > made")
    first = workshop.one(spec)
    real = workshop.artifacts
    workshop.artifacts = workshop.root / "link"
    workshop.artifacts.symlink_to(real)
    assert workshop.one(spec) == first
    workshop.artifacts = workshop.root / "moved"
    real.rename(workshop.artifacts)
    again = workshop.one(spec)
    assert again.key == first.key
    assert again.path == str(workshop.artifacts / first.key)


def test_a_service_at_the_top_and_one_built_from_there_share_an_artifact(workshop) -> None:
    workshop.write("main", "x")
    workshop.write("service.toml", 'run = "x"')
    workshop.write("services/worker/service.toml", 'run = "x"')
    top = ServiceSpec(name="web", folder=".", run=Command(argv=("x",)))
    below = ServiceSpec(name="worker", folder="services/worker", run=top.run, build=Build(context="../.."))
    assert workshop.one(top).key == workshop.one(below).key


def test_a_context_above_the_service_is_what_is_built_less_the_files_of_other_services(workshop) -> None:
    workshop.write("atoll.toml")
    workshop.write("shared/text", "shared")
    workshop.write("api/service.toml", 'run = "x"')
    workshop.write("api/main")
    workshop.write("web/service.toml", 'run = "x"')
    spec = workshop.spec("api", "cp shared/text api/copied", context="..", inputs=["shared", "api", "atoll.toml"])
    made = Path(workshop.one(spec).path)
    assert sorted(str(file.relative_to(made)) for file in made.rglob("*") if file.is_file()) == [
        "api/copied",
        "api/main",
        "shared/text",
    ]
