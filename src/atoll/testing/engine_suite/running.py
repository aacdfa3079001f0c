"""Replicas: how they start, stop, crash, are limited, and outlive the daemon; workers and jobs."""

import json
import shlex

import pytest

from atoll.cli.drafts import new_key
from atoll.cli.failed import Failed
from atoll.model.wire import FaultRequest, ScaleRequest, StopRequest
from atoll.testing.engine_suite.capabilities import shows
from atoll.testing.engine_suite.lab import Lab

WORKER = 'port = "none"'


def _stops_in_its_own_way(lab: Lab, name: str) -> None:
    lab.client.stop(name, StopRequest(key=new_key()))
    lab.until(lambda: not lab.of(name).replicas, what="it has stopped")
    ends = ["told to stop", "stopped"]
    lab.until(lambda: [line.text for line in lab.logs(name)][-2:] == ends, what="it has stopped in its own way")


class Running:
    """Part of `EngineSuite`."""

    @shows("start")
    def test_a_service_starts_and_is_reached_at_the_gateway(self, lab: Lab) -> None:
        lab.service("orders")
        [operation] = lab.up("orders")
        assert operation.receipt is not None
        assert lab.get("/orders/x").version == "v1"
        view = lab.of("orders")
        assert (view.state, view.release, view.ready, view.wanted) == ("up", "r1", 1, 1)
        assert lab.get("/ordersx/").status == 404

    @shows("start")
    def test_as_many_replicas_run_as_are_wanted_and_scaling_fails_no_request(self, lab: Lab) -> None:
        lab.service("carts", "replicas = 2")
        lab.up("carts")
        assert len(lab.replicas("carts")) == 2
        with lab.steady("/carts/a") as load:
            lab.client.scale("carts", ScaleRequest(replicas=3, key=new_key()))
            lab.until(lambda: len(lab.replicas("carts")) == 3, what="a third one is ready")
            lab.client.scale("carts", ScaleRequest(replicas=1, key=new_key()))
            lab.until(lambda: len(lab.of("carts").replicas) == 1, what="two are gone")
        assert load.failures == []

    @shows("start")
    def test_a_program_that_is_not_there_is_told_by_name(self, lab: Lab) -> None:
        health = 'health = { ready = "tcp", start_budget = "20s" }'
        lab.service("prices", health, health=None, run='["./no-such-program"]')
        operation = lab.deploy("prices")
        assert operation.phase == "undone"
        assert "no-such-program" in f"{operation.text} {operation.output}"

    @shows("ready")
    def test_no_request_meets_a_replica_that_is_not_ready_yet(self, lab: Lab) -> None:
        lab.service("stock")
        lab.up("stock")
        lab.service("stock", env={"VERSION": "v2", "START_S": "1.5"})
        with lab.steady("/stock/a") as load:
            assert lab.deploy("stock").good
        assert load.failures == []
        assert set(load.versions) == {"v1", "v2"}

    @shows("ready")
    def test_readiness_may_be_asked_by_a_path_or_by_a_command(self, lab: Lab) -> None:
        command = [*lab.command("check")]
        for name, ready in (("by-path", '"/healthz"'), ("by-command", f"{{ command = {command} }}")):
            health = f'health = {{ ready = {ready}, stable_for = "300ms", start_budget = "20s" }}'
            lab.service(name, health, health=None)
            lab.up(name)
            assert lab.get(f"/{name}/x").version == "v1"

    @shows("stability")
    def test_one_that_dies_within_its_stability_window_never_gets_a_request(self, lab: Lab) -> None:
        lab.service("billing")
        lab.up("billing")
        before = lab.replicas("billing")
        health = 'health = { ready = "tcp", stable_for = "2s", start_budget = "20s" }'
        lab.service("billing", health, health=None, env={"VERSION": "v2", "DIE_AFTER_S": "0.8"})
        with lab.steady("/billing/a") as load:
            operation = lab.deploy("billing")
        assert operation.phase == "undone"
        ends = [event.message for event in lab.events("billing") if event.kind == "replica.crashed"]
        assert ends
        assert all("exit code 9" in each for each in ends)
        assert load.failures == []
        assert set(load.versions) == {"v1"}
        assert lab.replicas("billing") == before

    @shows("stop")
    def test_it_is_told_to_stop_by_its_own_signal_and_may_take_its_grace(self, lab: Lab) -> None:
        stop = 'stop = { signal = "SIGINT", grace = "20s", drain = "1s" }'
        line = json.dumps(shlex.join(lab.command("serve")))  # for a shell, which may stay its parent
        for name, run in (("invoices", None), ("reminders", line)):
            lab.service(name, stop, run=run, env={"STOP_S": "0.5"})
            lab.up(name)
            _stops_in_its_own_way(lab, name)

    @shows("stop")
    def test_what_does_not_stop_is_killed_after_its_grace(self, lab: Lab) -> None:
        lab.service("refunds", 'stop = { grace = "500ms", drain = "1s" }', env={"DEAF": "1"})
        lab.up("refunds")
        lab.client.stop("refunds", StopRequest(key=new_key()))
        lab.until(lambda: not lab.of("refunds").replicas, what="it was killed")
        assert "stopped" not in [line.text for line in lab.logs("refunds")]

    @shows("crash-loop")
    def test_one_that_is_killed_is_replaced(self, lab: Lab) -> None:
        lab.service("shipping", "replicas = 2")
        lab.up("shipping")
        before = set(lab.replicas("shipping"))
        lab.client.inject("shipping", FaultRequest(kind="kill", key=new_key()))
        lab.until(
            lambda: len(after := set(lab.replicas("shipping"))) == 2 and after != before, what="there are two again"
        )
        assert any(event.kind == "replica.crashed" and "SIGKILL" in event.message for event in lab.events("shipping"))

    @shows("crash-loop")
    def test_what_crashes_again_and_again_is_restarted_ever_slower_and_told(self, lab: Lab) -> None:
        lab.service("labels", env={"DIE_AFTER_S": "2"})
        lab.up("labels")

        def starts() -> list[float]:
            return [event.wall for event in lab.events("labels") if event.kind == "replica.started"]

        lab.until(lambda: len(starts()) >= 5, what="it was restarted four times")
        first, *_, last = [after - before for before, after in zip(starts(), starts()[1:], strict=False)][:4]
        assert last > first
        assert "crash loop" in lab.until(lambda: lab.of("labels").reason, what="it is told")
        why = lab.client.why("labels")
        assert why.crash is not None
        assert why.crash.code == 9
        lab.until(lambda: "v1 starting" in lab.client.why("labels").crash_output, what="its last words are told")

    @shows("crash-loop")
    def test_a_release_that_crashes_at_its_start_is_given_up_with_its_last_words(self, lab: Lab) -> None:
        lab.service("parcels")
        lab.up("parcels")
        health = 'health = { ready = "tcp", start_budget = "20s" }'
        lab.service("parcels", health, health=None, env={"VERSION": "v2", "CRASH": "7"})
        operation = lab.deploy("parcels")
        assert operation.phase == "undone"
        assert "exit code 7" in operation.text
        assert "cannot find my configuration" in operation.output
        assert lab.get("/parcels/x").version == "v1"

    @shows("memory")
    def test_what_needs_more_memory_than_its_limit_is_ended_and_that_is_told(self, lab: Lab) -> None:
        lab.service("returns", 'limits.memory = "64MiB"')
        if lab.refuses("memory"):
            return
        lab.up("returns")
        assert lab.ask("/returns/eat", mib=8)["held"] == 8
        assert lab.get("/returns/eat?mib=200").status == 503
        told = lab.until(lambda: [each.message for each in lab.events("returns") if each.kind == "replica.crashed"])
        assert "out of memory, limit 64MiB" in told[0]
        lab.until(lambda: lab.get("/returns/x").version == "v1", what="it is back")

    @shows("open-files")
    def test_it_opens_no_more_files_than_its_limit(self, lab: Lab) -> None:
        lab.service("ratings", "limits.open_files = 100")
        if lab.refuses("open-files"):
            return
        lab.up("ratings")
        assert 50 < lab.ask("/ratings/files", most=300)["opened"] <= 100

    @shows("cpus")
    def test_it_gets_no_more_cpu_time_than_its_limit(self, lab: Lab) -> None:
        lab.service("shifts", "limits.cpus = 0.2")
        if lab.refuses("cpus"):
            return
        lab.up("shifts")
        assert 0.05 < lab.ask("/shifts/spin", s=2)["cpu_s"] < 0.8

    @shows("pids")
    def test_it_has_no_more_processes_than_its_limit(self, lab: Lab) -> None:
        lab.service("payroll", "limits.pids = 40")
        if lab.refuses("pids"):
            return
        lab.up("payroll")
        assert 10 < lab.ask("/payroll/fork", most=100)["children"] < 40

    @shows("adoption")
    def test_a_daemon_that_is_killed_finds_its_replicas_again_and_nobody_notices(self, lab: Lab) -> None:
        lab.service("reviews", "replicas = 2")
        lab.up("reviews")
        before = lab.replicas("reviews")
        with lab.steady("/reviews/a") as load:
            lab.kill_daemon()
            lab.until(lambda: lab.replicas("reviews") == before, what="the same replicas are ready")
        assert load.failures == []
        assert [event.kind for event in lab.events("reviews")].count("replica.started") == 2
        lab.service("reviews", env={"VERSION": "v2"})
        assert lab.deploy("reviews").good

    @shows("adoption")
    def test_a_deploy_goes_on_with_the_next_daemon(self, lab: Lab) -> None:
        lab.service("coupons")
        lab.up("coupons")
        lab.service("coupons", env={"VERSION": "v2", "START_S": "2"})
        with lab.steady("/coupons/a") as load:
            begun = lab.begin("coupons")
            lab.kill_daemon()
            assert lab.ended(begun).good
        assert load.failures == []
        assert lab.get("/coupons/x").version == "v2"

    @shows("worker")
    def test_a_worker_without_a_port_is_deployed_and_restarted(self, lab: Lab) -> None:
        health = 'health = { stable_for = "300ms" }'
        lab.service("mailer", f"{WORKER}\n{health}", kind="worker", route=None, health=None)
        lab.up("mailer")
        [first] = lab.replicas("mailer")
        lab.client.inject("mailer", FaultRequest(kind="kill", key=new_key()))
        lab.until(lambda: first not in (now := lab.replicas("mailer")) and now, what="another one works")
        lab.service("mailer", f"{WORKER}\n{health}", kind="worker", route=None, health=None, env={"VERSION": "v2"})
        assert lab.deploy("mailer").good
        lab.until(lambda: "v2 works" in [line.text for line in lab.logs("mailer")], what="v2 works")

    @shows("jobs")
    def test_a_job_by_hand_gets_its_arguments_and_ends_with_its_own_code(self, lab: Lab) -> None:
        lab.service("vouchers", f"[jobs]\nreindex = {lab.command('reindex')}")
        lab.up("vouchers")
        good = lab.job("vouchers", "reindex", "--since", "2026")
        assert (good.state, good.exit and good.exit.code) == ("succeeded", 0)
        lines = lab.until(lambda: [line.text for line in lab.logs("vouchers", f"{good.id}.")])
        assert lines[-1] == "v1 reindex --since 2026"
        bad = lab.job("vouchers", "reindex", "fail")
        assert (bad.state, bad.exit and bad.exit.code) == ("failed", 4)
        assert "v1 reindex fail" in bad.output

    @shows("jobs")
    def test_a_scheduled_job_runs_when_it_is_due(self, lab: Lab) -> None:
        tick = f'[jobs.tick]\nrun = {lab.command("tick")}\nschedule = "* * * * * *"\n'
        lab.service("ticker", tick)
        lab.up("ticker")

        def good() -> int:
            [view] = lab.client.jobs("ticker", "tick")
            return len([run for run in view.runs if run.state == "succeeded" and run.trigger == "schedule"])

        lab.until(lambda: good() >= 2, what="it ran twice")

    @shows("jobs")
    def test_what_must_run_before_a_release_runs_once_and_stops_one_that_it_fails_for(self, lab: Lab) -> None:
        lab.service("gifts")
        lab.up("gifts")
        for version, word in (("v2", "migrate"), ("v3", "fail")):
            before = f'[rollout]\nstrategy = "blue-green"\nbefore = {lab.command(word)}\n'
            lab.service("gifts", before, env={"VERSION": version})
            operation = lab.deploy("gifts")
            assert operation.good is (word != "fail"), operation
        assert "exit code 4" in operation.text
        assert lab.get("/gifts/x").version == "v2"
        ran = [line.text for line in lab.logs("gifts", "gifts.before.") if line.text.endswith("migrate")]
        assert ran == ["v2 migrate"]

    @shows("jobs")
    def test_a_service_that_is_down_runs_no_job(self, lab: Lab) -> None:
        lab.service("wishes", f"[jobs]\nreindex = {lab.command('reindex')}")
        lab.up("wishes")
        lab.client.stop("wishes", StopRequest(key=new_key()))
        with pytest.raises(Failed) as refused:
            lab.job("wishes", "reindex")
        assert "down" in f"{refused.value.what} {refused.value.why}"
