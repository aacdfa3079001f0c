"""Tasks as they run: in order, side by side, each in a clean copy, known again by their keys."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from killing import own_seconds

from atoll.model.errors import BuildFailed, NotFound, UserError
from atoll.model.records import CiResult, TaskResult
from atoll.model.state import Artifact
from atoll.pipeline import ci
from atoll.pipeline.artifacts import Artifacts
from atoll.pipeline.build import build_all
from atoll.pipeline.ci import Asked
from atoll.pipeline.keys import Keyed, Premises, keyed
from atoll.pipeline.progress import Progress
from atoll.pipeline.records import Records
from atoll.workspace.loader import load


class Bench:
    """A workspace of files; `run` is `atoll ci` without its command line."""

    def __init__(self, workshop) -> None:
        self.workshop = workshop
        self.tell = workshop.progress.append
        self.said: list[str] = []
        workshop.write("atoll.toml")

    def service(self, name: str, toml: str, files: Mapping[str, str] = {}) -> None:
        self.workshop.write(f"{name}/service.toml", f'run = "x"\n{toml}')
        for path, text in {"NAME": name, **files}.items():  # else two services without files are one build
            self.workshop.write(f"{name}/{path}", text)

    def run(self, *named: str, **asked: object) -> CiResult:
        return asyncio.run(self.run_async(*named, **asked))

    async def run_async(self, *named: str, **asked: object) -> CiResult:
        known = Asked(named=named, **asked)
        site = self.workshop.site
        return await ci.perform(
            lambda: load(self.workshop.root), site, known, self.tell, self.said.append, keys=self.keys()
        )

    def plan(self, *named: str, **asked: object):
        known = Asked(named=named, **asked)
        site, said = self.workshop.site, self.said.append
        return asyncio.run(ci.plan(lambda: load(self.workshop.root), site, known, said, keys=self.keys()))

    def keys(self) -> Mapping[str, Keyed | UserError]:
        root, site = self.workshop.root, self.workshop.site
        snapshot = site.artifacts.parent / "snapshot"
        return keyed(
            Premises(root, site.artifacts, site.toolchains, snapshot, "local", lambda looked: load(root, looked=looked))
        )


@pytest.fixture
def bench(workshop) -> Bench:
    return Bench(workshop)


def by_id(result: CiResult) -> dict[str, TaskResult]:
    return {task.task: task for task in result.tasks}


def outcomes(result: CiResult) -> dict[str, str]:
    return {task.task: "cached" if task.cached else task.outcome for task in result.tasks}


def test_what_is_affected_runs_once_and_an_edit_runs_only_what_it_concerns(bench) -> None:
    for name in ("orders", "catalog"):
        bench.service(name, '[tasks.test]\nrun = "cat a"\n', {"a": name})
    first = bench.run()
    assert outcomes(first) == dict.fromkeys(("orders.build", "orders.test", "catalog.build", "catalog.test"), "passed")
    assert {task.why for task in first.tasks} == {"its first run"}
    second = bench.run()
    assert (second.tasks, second.unaffected, second.ok) == ((), 2, True)
    assert second.saved_s > 0
    bench.workshop.write("orders/a", "edited")
    third = bench.run()
    assert outcomes(third) == {"orders.build": "passed", "orders.test": "passed"}
    assert by_id(third)["orders.test"].why == "a changed"
    assert third.unaffected == 1


def test_a_task_that_failed_before_does_not_run_for_the_first_time(bench) -> None:
    bench.service("a", '[tasks.test]\nrun = "test -e fixed"\n[tasks.after]\nrun = "true"\nneeds = ["test"]')
    assert by_id(bench.run("a.after"))["a.test"].why == "its first run"
    again = by_id(bench.run("a.after"))
    assert (again["a.test"].outcome, again["a.test"].why) == ("failed", "it never passed")
    bench.workshop.write("a/fixed", "")
    fixed = by_id(bench.run("a.after"))
    assert {name: task.why for name, task in fixed.items()} == {"a.test": "it never passed", "a.after": "its first run"}


def test_a_task_finds_the_results_of_what_it_needs_and_no_variable_that_it_does_not_name(bench, monkeypatch) -> None:
    monkeypatch.setenv("STRAY", "stray")
    monkeypatch.setenv("VERSION", "1.2")
    monkeypatch.setenv("TOKEN", "secret")
    bench.service("catalog", '[tasks.gen]\nrun = "mkdir gen; echo made > gen/x; echo lost > y"\noutputs = ["gen/**"]')
    bench.service(
        "orders",
        '[tasks.test]\nneeds = ["build", "catalog.gen"]\ninherit = ["VERSION", "UNSET"]\npass = ["TOKEN"]\n'
        "env = { GREETING = 'hello' }\n"
        "run = ['/bin/sh -c \"test -f {needs.build}/a\"', 'grep made {needs.catalog.gen}/gen/x',"
        " '[ ! -e {needs.catalog.gen}/y ] && [ \"$VERSION$TOKEN$GREETING$STRAY\" = 1.2secrethello ]']\n",
        {"a": "1"},
    )
    assert outcomes(bench.run("orders")) == {
        "orders.build": "passed", "catalog.gen": "passed", "orders.test": "passed",
    }  # fmt: skip
    monkeypatch.setenv("TOKEN", "another")
    assert outcomes(bench.run("orders.test")) == {"orders.test": "cached"}
    monkeypatch.setenv("VERSION", "1.3")
    again = by_id(bench.run("orders.test"))["orders.test"]
    assert (again.outcome, again.cached, again.why) == ("failed", False, "variable VERSION changed")


def test_a_failure_skips_what_needs_it_and_nothing_else(bench) -> None:
    bench.service("a", '[tasks]\ngen = "echo so it was; exit 4"\n[tasks.test]\nrun = "true"\nneeds = ["gen"]')
    bench.service("b", '[tasks.test]\nrun = "true"\nneeds = ["a.test"]\n[tasks.lint]\nrun = "true"')
    result = bench.run()
    assert outcomes(result) == {
        "a.build": "passed", "a.gen": "failed", "a.test": "skipped",
        "b.build": "passed", "b.lint": "passed", "b.test": "skipped",
    }  # fmt: skip
    failed = by_id(result)["a.gen"]
    assert "ended with exit code 4" in failed.reason
    assert "so it was" in failed.output
    assert "so it was" in Path(failed.log).read_text()
    assert (result.ok, result.failed, result.skipped, result.passed) == (False, 1, 2, 3)
    again = bench.run()
    assert by_id(again)["a.gen"].outcome == "failed", "a failure is no result to be used again"
    assert by_id(again)["b.lint"].cached
    with Records(bench.workshop.site.records) as records:
        assert [each.outcome for each in records.history(service="a") if each.task == "a.gen"] == ["failed", "failed"]


def test_fail_fast_ends_what_runs_and_begins_nothing_more(bench, processes_with) -> None:
    marker = own_seconds()
    bench.service("a", '[tasks]\ntest = "sleep 1; exit 1"')
    bench.service("b", f'[tasks]\ntest = "sleep {marker}"')
    bench.service("c", '[tasks.test]\nrun = "true"\nneeds = ["b.test"]')
    began = time.monotonic()
    result = bench.run(kinds=("test",), jobs=2, fail_fast=True)
    assert time.monotonic() - began < 60
    assert outcomes(result) == {"a.test": "failed", "b.test": "cancelled", "c.test": "cancelled"}
    assert processes_with(f"sleep {marker}") == []
    assert bench.workshop.half_made() == []


def test_a_task_that_was_declared_flaky_is_tried_again_in_a_fresh_copy_and_shown_as_such(bench) -> None:
    count = bench.workshop.root / "count"
    run = (
        f"test ! -e left; touch left; echo x >> {count}; echo attempt $(wc -l < {count}); test $(wc -l < {count}) -ge 3"
    )
    bench.service("a", f"[tasks.test]\nrun = '{run}'\nretries = 2")
    result = by_id(bench.run("a.test"))["a.test"]
    assert (result.outcome, result.attempts, result.cached) == ("flaky", 3, False)
    assert [each.attempts for each in bench.workshop.progress if each.phase == "done"] == [3]
    assert "attempt 2" in result.output
    again = by_id(bench.run("a.test"))["a.test"]
    assert (again.outcome, again.cached, again.attempts) == ("flaky", True, 3)
    assert count.read_text() == "x\n" * 3


def test_a_task_that_takes_too_long_is_ended_and_says_so(bench, processes_with) -> None:
    marker = own_seconds()
    bench.service("a", f'[tasks.test]\nrun = "(setsid sleep {marker} &) ; sleep {marker}"\ntimeout = "1s"')
    result = by_id(bench.run("a.test"))["a.test"]
    assert result.outcome == "timed-out"
    assert "longer than 1 s" in result.reason
    assert processes_with(f"sleep {marker}") == []


def test_a_task_without_cache_runs_each_time_that_it_is_asked_for(bench) -> None:
    count = bench.workshop.root / "count"
    bench.service("a", f'[tasks.smoke]\nrun = "echo x >> {count}"\ncache = false')
    assert bench.run().passed == 2
    second = by_id(bench.run("a.smoke"))["a.smoke"]
    assert (second.cached, second.why) == (False, "it runs each time")
    assert count.read_text() == "x\nx\n"
    assert bench.run().unaffected == 1, "nothing changed, so nobody asks for it"


def test_a_task_without_cache_that_failed_last_is_not_taken_for_green_since_it_passed_before(bench) -> None:
    live = bench.workshop.write("live")
    bench.service("a", f'[tasks.smoke]\nrun = "test -e {live}"\ncache = false')
    assert bench.run().passed == 2
    live.unlink()
    assert by_id(bench.run("a.smoke"))["a.smoke"].outcome == "failed"
    again = bench.run()
    assert (again.ok, outcomes(again)) == (False, {"a.build": "cached", "a.smoke": "failed"})
    live.touch()
    assert outcomes(bench.run()) == {"a.build": "cached", "a.smoke": "passed"}
    assert bench.run().unaffected == 1


def test_in_place_it_sees_what_lies_in_the_work_tree_and_is_remembered_only_while_that_stands_still(bench) -> None:
    bench.service(
        "a", '[tasks.test]\nrun = "test -e node_modules/dep"\nin_place = true', {".gitignore": "node_modules\n"}
    )
    assert by_id(bench.run("a.test"))["a.test"].outcome == "failed"
    bench.workshop.write("a/node_modules/dep")
    assert by_id(bench.run("a.test"))["a.test"].outcome == "passed"
    assert by_id(bench.run("a.test"))["a.test"].cached
    bench.service("b", '[tasks.test]\nrun = "date +%N > snapshot"\nin_place = true')
    for _ in range(2):
        said = by_id(bench.run("b.test"))["b.test"]
        assert (said.outcome, said.cached) == ("passed", False)
        assert "its inputs changed while it ran" in said.why


def test_in_place_there_is_no_complete_result_at_any_instant_while_its_inputs_move(bench, monkeypatch) -> None:
    """Else one who is killed just then leaves a green result of bytes that it never ran with."""
    finished: list[str] = []
    finish = Artifacts.finish
    monkeypatch.setattr(
        Artifacts, "finish", lambda self, record: (finished.append(record.manifest.task), finish(self, record))
    )
    bench.service("a", '[tasks.test]\nrun = "date +%N > snapshot"\nin_place = true')
    assert by_id(bench.run("a"))["a.test"].outcome == "passed"
    assert finished == ["build"]
    assert bench.workshop.half_made() == []


def test_what_needs_a_result_that_was_removed_meanwhile_does_not_run_without_it(bench) -> None:
    bench.service("a", '[tasks.test]\nrun = "test ! -e {needs.build}/NAME"\nneeds = ["build"]')
    place = Artifacts(bench.workshop.artifacts)

    def collected(progress: Progress) -> None:
        if (progress.task, progress.phase) == ("build", "done"):
            for key, _ in list(place.complete()):
                place.remove(key)

    bench.tell = collected
    said = by_id(bench.run("a"))["a.test"]
    assert (said.outcome, said.reason) == ("failed", "the result of a.build was removed before it was its turn")


def test_what_a_pull_request_ran_is_not_believed_by_others(bench) -> None:
    count = bench.workshop.root / "count"
    bench.service("a", f'[tasks.test]\nrun = "echo x >> {count}"')
    assert bench.run(namespace="pr-7").passed == 2
    assert bench.run(namespace="pr-7").unaffected == 1
    assert outcomes(bench.run(namespace="pr-8")) == {"a.build": "passed", "a.test": "passed"}
    assert outcomes(bench.run()) == {"a.build": "passed", "a.test": "passed"}
    assert bench.run(namespace="pr-9").unaffected == 1, "what is trusted is believed by all"
    assert count.read_text() == "x\nx\nx\n"


def test_files_as_they_were_once_are_affected_no_more(bench) -> None:
    bench.service("a", '[tasks]\ntest = "true"', {"f": "one"})
    bench.run()
    bench.workshop.write("a/f", "two")
    assert bench.run().passed == 2
    bench.workshop.write("a/f", "one")
    assert bench.run().unaffected == 1
    assert bench.run().unaffected == 1


def test_lost_records_are_made_of_the_results_that_are_there(bench) -> None:
    bench.service("a", '[tasks]\ntest = "true"')
    bench.run()
    bench.workshop.site.records.write_bytes(b"nonsense, and more of it" * 100)
    result = bench.run()
    assert result.unaffected == 1
    assert "begin anew" in bench.said[0]


def test_records_that_cannot_be_kept_fail_no_task(bench) -> None:
    bench.service("a", '[tasks]\ntest = "true"')
    bench.workshop.site.records.mkdir(parents=True)
    assert bench.run().passed == 2
    (said,) = bench.said
    assert "what became of tasks is not" in said
    assert bench.run().unaffected == 1


def test_a_plan_says_what_would_run_and_why_and_runs_nothing(bench) -> None:
    bench.service("a", '[tasks.test]\nrun = "true"\nneeds = ["build"]', {"f": "one"})
    bench.service("b", '[tasks]\ntest = "true"')
    bench.run()
    bench.workshop.write("a/f", "two")
    plan = bench.plan()
    assert [(task.task, task.runs, task.why) for task in plan.tasks] == [
        ("a.build", True, "f changed"),
        ("a.test", True, "f changed; a.build changed"),
    ]
    assert plan.unaffected == 1
    assert bench.run().passed == 2, "planning did nothing"


@pytest.mark.parametrize(
    ("named", "kinds", "says"),
    [
        (("ordres",), (), "did you mean 'orders'"),
        (("orders.tset",), (), "did you mean 'orders.test'"),
        ((), ("tset",), "did you mean 'test'"),
    ],
)
def test_a_name_that_is_none_gets_a_suggestion(bench, named, kinds, says: str) -> None:
    bench.service("orders", '[tasks]\ntest = "true"')
    with pytest.raises(NotFound) as failed:
        bench.run(*named, kinds=kinds)
    assert says in failed.value.fix


async def test_cancelled_it_leaves_no_process_and_keeps_what_had_passed(bench, processes_with) -> None:
    marker = own_seconds()
    bench.service("a", f'[tasks]\nquick = "true"\nslow = "(setsid sleep {marker} &); sleep {marker}"')
    running = asyncio.create_task(bench.run_async(jobs=3))
    for _ in range(1500):
        ended = {each.name for each in bench.workshop.progress if each.phase == "done"}
        if len(processes_with(f"sleep {marker}")) >= 3 and ended == {"a", "a.quick"}:
            break
        await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert processes_with(f"sleep {marker}") == []
    assert bench.workshop.half_made() == []
    left = {task.task: task.runs for task in (await asyncio.to_thread(bench.plan)).tasks}
    assert left == {"a.build": False, "a.quick": False, "a.slow": True}


def test_a_link_to_what_is_needed_may_lie_in_the_copy(bench) -> None:
    bench.service(
        "a", '[tasks.test]\nrun = ["ln -s {needs.build} built", "test -e built/f"]\nneeds = ["build"]', {"f": ""}
    )
    assert bench.run("a.test").ok


def test_a_build_for_a_deploy_makes_what_it_needs_first(bench) -> None:
    bench.service("catalog", '[tasks.client]\nrun = "echo $(cat NAME) > client"\noutputs = ["client"]')
    bench.service("orders", '[build]\nneeds = ["catalog.client"]\nsteps = ["cp {needs.catalog.client}/client theirs"]')

    def build() -> Artifact | BuildFailed:
        workspace = load(bench.workshop.root)
        specs = [workspace.services["orders"]]
        return asyncio.run(build_all(specs, bench.workshop.site, workspace=workspace))["orders"]

    first = build()
    assert isinstance(first, Artifact)
    assert Path(first.path, "theirs").read_text() == "catalog\n"
    assert build() == first
    bench.workshop.write("catalog/NAME", "another")
    second = build()
    assert isinstance(second, Artifact)
    assert second.key != first.key
    assert Path(second.path, "theirs").read_text() == "another\n"
    bench.workshop.write("catalog/service.toml", 'run = "x"\n[tasks.client]\nrun = "false"\noutputs = ["client"]')
    failed = build()
    assert isinstance(failed, BuildFailed)
    assert (failed.id, failed.what) == ("need-failed", "was not built: catalog.client did not pass")


def test_an_artifact_of_a_pull_request_is_not_found_by_a_trusted_deploy(bench) -> None:
    count = bench.workshop.root / "count"
    bench.service("orders", f"[build]\nsteps = ['echo x >> {count}']")
    specs = [load(bench.workshop.root).services["orders"]]
    for namespace, times in (("pr-7", 1), ("pr-7", 1), ("pr-8", 2), ("trusted", 3), ("pr-9", 3), ("trusted", 3)):
        result = asyncio.run(build_all(specs, bench.workshop.site, namespace=namespace))["orders"]
        assert isinstance(result, Artifact)
        assert count.read_text() == "x\n" * times, namespace


def test_a_task_that_removes_its_own_folder_has_failed_and_says_why(bench) -> None:
    bench.service("a", "[tasks]\ntest = 'rm -rf \"$PWD\"'")
    result = by_id(bench.run("a.test"))["a.test"]
    assert (result.outcome, result.reason) == ("failed", "its steps removed the folder that they ran in")
    assert bench.workshop.half_made() == []
