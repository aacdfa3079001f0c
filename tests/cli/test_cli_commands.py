"""Each command, as a person or a script runs it, against the real API with an environment of pretend behind it."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from atoll.cli import receipt
from atoll.model.state import Receipt
from atoll.model.wire_operations import OperationView
from atoll.testing.fake_control import Served


def test_status_shows_every_service_on_one_screen(atoll, daemon: Served) -> None:
    done = atoll("status")
    assert done.returncode == 0
    assert "shop · local at http://127.0.0.1:8080" in done.stdout
    rows = [line.split()[:4] for line in done.stdout.splitlines()]
    assert ["orders", "r1", "up", "1/1"] in rows
    assert "\x1b[" not in done.stdout


def test_status_as_json_is_the_apis_own_answer(atoll, daemon: Served) -> None:
    done = atoll("status", "--json")
    assert [service["name"] for service in json.loads(done.stdout)["services"]] == ["catalog", "orders"]
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("by", "first"),
    [
        ("service", ["catalog", "10.0", "1.00%", "4", "ms"]),
        ("release", ["catalog", "r1", "10.0", "1.00%"]),
        ("edge", ["gateway", "→", "catalog", "r1", "10.0"]),
        ("replica", ["catalog-1", "r1"]),
    ],
)
def test_top_shows_lines_of_each_kind(atoll, daemon: Served, by: str, first: list[str]) -> None:
    done = atoll("top", "--once", "--by", by, "--sort", "requests")
    assert done.returncode == 0, done.stderr
    header, line, *_ = (line.split() for line in done.stdout.splitlines())
    assert header[0] == by
    assert line[: len(first)] == first
    assert "\x1b[" not in done.stdout


def test_top_of_one_service_as_json_is_the_apis_own_answer(atoll, daemon: Served) -> None:
    view = json.loads(atoll("top", "orders", "--once", "--json", "--seconds", "30").stdout)
    assert [(row["service"], row["seconds"]) for row in view["services"]] == [("orders", 30)]


def test_top_of_a_service_that_is_not_there_says_which_is_near(atoll, daemon: Served) -> None:
    done = atoll("top", "order", "--once")
    assert done.returncode == 2
    assert "orders" in done.stderr


def test_up_deploys_what_is_not_running_and_tells_what_failed(atoll, daemon: Served) -> None:
    done = atoll("up", "orders", "payments")
    assert done.returncode == 0, done.stderr
    assert ["payments", "r1", "up"] in [line.split()[:3] for line in done.stdout.splitlines()]
    assert "payments r1 live" in done.stderr
    (request,) = daemon.control.requests
    assert [draft.spec.name for draft in request.drafts] == ["orders", "payments"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("service", "code"), [("broken", 6), ("refused", 4), ("failing", 3)])
def test_up_goes_on_with_the_others_and_ends_with_the_failures_code(
    atoll, daemon: Served, service: str, code: int
) -> None:
    done = atoll("up", service, "payments", "--json")
    assert done.returncode == code, done.stderr
    answer = json.loads(done.stdout)
    live = [operation["service"] for operation in answer["operations"] if operation["phase"] == "live"]
    assert live == ["payments"]
    assert (service in answer["failures"]) == (service != "failing")
    assert "error[" in done.stderr or service == "failing"


def test_deploy_shows_a_receipt(atoll, daemon: Served) -> None:
    done = atoll("deploy", "orders")
    assert done.returncode == 0, done.stderr
    assert "orders r2 is live in 1.10 s" in done.stdout
    assert "30 requests meanwhile, 0 failed" in done.stdout
    assert "no other service touched" in done.stdout
    assert "atoll rollback orders" in done.stdout
    assert "orders r1 → r2 starting" in done.stderr


def test_a_receipt_has_what_a_person_should_know_of_a_release_that_is_live() -> None:
    done = Receipt(rollout="o-1", service="orders", kind="deploy", release=2, previous=1, outcome="live")
    view = OperationView(
        id="o-1", service="orders", kind="deploy", release="r2", phase="live", ended=True, receipt=done,
        warnings=("0.0.0.0:9229 is reached past the gateway",),
    )  # fmt: skip
    assert "| warning | 0.0.0.0:9229 is reached past the gateway |" in receipt.markdown(view)


def test_deploy_as_json_says_all_on_stdout_and_progress_on_stderr(atoll, daemon: Served) -> None:
    done = atoll("deploy", "orders", "payments", "--json")
    operations = json.loads(done.stdout)
    assert [(one["service"], one["receipt"]["outcome"]) for one in operations] == [
        ("orders", "live"),
        ("payments", "live"),
    ]
    assert "orders r1 → r2 live" in done.stderr
    assert atoll("deploy", "orders", "--json", "--quiet").stderr == ""


def test_deploy_as_markdown_fits_a_pull_request(atoll, daemon: Served) -> None:
    done = atoll("deploy", "orders", "--markdown")
    assert done.stdout.startswith("### ✅ orders r2 is live")
    assert "| requests | 30 requests meanwhile, 0 failed |" in done.stdout


def test_a_deploy_that_was_undone_ends_with_3_and_shows_the_last_output(atoll, daemon: Served) -> None:
    done = atoll("deploy", "orders", "--note", "fail")
    assert done.returncode == 3
    assert "orders r2 failed and was undone" in done.stdout
    assert "no module named 'orders'" in done.stdout


def test_a_refused_deploy_ends_with_4_and_says_what_why_and_the_fix(atoll, daemon: Served) -> None:
    done = atoll("deploy", "orders", "--note", "refuse")
    assert done.returncode == 4
    assert done.stdout == ""
    assert done.stderr.splitlines()[-3:] == [
        "error[does-not-fit]: orders does not fit",
        "  why: it wants 2 GiB, 1 GiB is free",
        "  fix: lower limits.memory",
    ]


def test_commands_in_a_fix_name_the_environment_that_was_named(atoll, daemon: Served) -> None:
    receipt = atoll("deploy", "orders", "--env", "staging").stdout
    assert "atoll --env staging rollback orders" in receipt
    assert "undo      atoll rollback orders" in atoll("deploy", "orders").stdout


def test_a_build_that_fails_ends_with_6_and_deploys_nothing(atoll, daemon: Served) -> None:
    done = atoll("deploy", "broken")
    assert done.returncode == 6
    assert "no such file: main.go" in done.stderr
    assert daemon.control.requests == []


def test_a_detached_deploy_returns_at_once(atoll, daemon: Served) -> None:
    daemon.control.rollouts.held.add("orders")
    done = atoll("deploy", "orders", "--detach")
    assert done.returncode == 0
    assert "orders r2: begun" in done.stdout
    daemon.control.rollouts.held.clear()


def test_a_deploy_expects_the_generation_it_saw(atoll, daemon: Served) -> None:
    atoll("deploy", "orders")
    (request,) = daemon.control.requests
    assert request.expect == 1  # type: ignore[attr-defined]
    assert len(request.key) == 32  # type: ignore[attr-defined]


def test_rollback_goes_to_a_release_by_name(atoll, daemon: Served) -> None:
    assert atoll("rollback", "orders", "--to", "r1").returncode == 0
    assert daemon.control.requests[-1].to == 1  # type: ignore[attr-defined]
    assert atoll("rollback", "orders", "--to", "latest").returncode == 2
    assert atoll("rollback", "orders", "--to", "99").returncode == 2


def test_a_rollback_that_ends_a_rollout_has_done_what_was_asked_for(atoll, daemon: Served) -> None:
    daemon.control.rollouts.held.add("orders")
    atoll("deploy", "orders", "--detach")
    done = atoll("rollback", "orders")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("orders r2 was undone\n  reason    ada ended it\n")


def test_restart_shows_a_receipt(atoll, daemon: Served) -> None:
    assert "orders r2 is live" in atoll("restart", "orders").stdout


def test_scale_waits_until_they_are_ready(atoll, daemon: Served) -> None:
    assert "orders: 3 of 3 replicas ready (by hand" in atoll("scale", "orders", "3").stdout
    assert "orders: 1 of 1 replica ready\n" in atoll("scale", "orders", "--reset").stdout
    assert atoll("scale", "orders").returncode == 2


def test_releases_are_a_table_and_json(atoll, daemon: Served) -> None:
    assert "c0ffee1234" in atoll("releases", "orders").stdout
    assert json.loads(atoll("releases", "orders", "--json").stdout)[0]["n"] == 1


def test_an_unknown_service_gets_a_suggestion(atoll, daemon: Served) -> None:
    for args in (("deploy", "ordres"), ("releases", "ordres"), ("restart", "ordres")):
        done = atoll(*args)
        assert done.returncode == 2
        assert "there is no service 'ordres'" in done.stderr
        assert "did you mean 'orders'?" in done.stderr


def test_errors_with_json_are_objects_on_stdout(atoll, daemon: Served) -> None:
    done = atoll("releases", "ordres", "--json")
    view = json.loads(done.stdout)
    assert (view["kind"], view["exit_code"]) == ("NotFound", 2)
    assert view["what"] in done.stderr


def test_logs_of_many_services_each_line_with_its_replica(atoll, daemon: Served) -> None:
    done = atoll("logs", "orders", "catalog")
    assert "orders-r1-0-aaaa | line 0 of orders" in done.stdout
    assert "catalog-r1-0-aaaa ! line 1 of catalog" in done.stdout
    assert len(atoll("logs", "orders", "--tail", "2").stdout.splitlines()) == 2
    assert json.loads(atoll("logs", "orders", "-n", "1", "--json").stdout)["text"] == "line 4 of orders"
    assert atoll("logs", "orders", "--since", "10m").stdout == ""
    assert atoll("logs", "orders", "--since", "tomorrow").returncode == 2
    assert "did you mean 'orders'?" in atoll("logs", "ordres").stderr


def test_events_are_lines_and_resume_after_a_number(atoll, daemon: Served) -> None:
    assert "replica 3 is ready (ada)" in atoll("events").stdout
    assert [json.loads(line)["seq"] for line in atoll("events", "--after", "1", "--json").stdout.splitlines()] == [2, 3]
    assert atoll("events", "catalog").stdout == ""
    assert len(atoll("events", "--tail", "1").stdout.splitlines()) == 1


def test_why_shows_the_crash_and_its_output(atoll, daemon: Served) -> None:
    done = atoll("why", "orders", "r1")
    assert "orders r1 is failing" in done.stdout
    assert "exit code 3" in done.stdout
    assert "boom: no database" in done.stdout


def test_why_of_a_task_takes_no_release(atoll) -> None:
    done = atoll("why", "orders.test", "r1")
    assert (done.returncode, "a task has no releases" in done.stderr) == (2, True)


def test_exec_ends_with_the_commands_own_code(atoll, daemon: Served) -> None:
    assert atoll("exec", "orders", "--", "echo", "--json").stdout == "echo --json\n"
    assert atoll("exec", "orders", "--", "exit", "9").returncode == 9


def test_a_secret_comes_from_standard_input_alone(atoll, daemon: Served) -> None:
    done = atoll("secret", "set", "orders-db", stdin="hunter2\n")
    assert done.returncode == 0
    assert daemon.control.requests[-1].value == "hunter2"  # type: ignore[attr-defined]
    assert "hunter2" not in done.stdout + done.stderr
    assert atoll("secret", "set", "orders-db", "hunter2").returncode == 2
    assert atoll("secret", "set", "orders-db").returncode == 2
    assert ["orders-db", "1", "nobody"] in [line.split() for line in atoll("secret", "list").stdout.splitlines()]
    assert atoll("secret", "rm", "orders-db").returncode == 0
    assert atoll("secret", "rm", "orders-db").returncode == 2


def test_down_stops_all_and_asks_outside_local(atoll, daemon: Served) -> None:
    assert "stopped all of pretend" in atoll("down").stderr
    refused = atoll("down", "--env", "production")
    assert refused.returncode == 4
    assert "add --yes" in refused.stderr
    assert "stopped all" in atoll("down", "-e", "production", "--yes").stderr
    assert atoll("down", "orders").returncode == 0
    assert daemon.control.services["orders"].state == "down"


def test_doctor_checks_the_machine_the_adapters_and_the_daemon(atoll, daemon: Served) -> None:
    checks = {check["check"]: check for check in json.loads(atoll("doctor", "--json").stdout)}
    assert {"python", "disk", "memory", "ports", "envoy", "store"} <= set(checks)
    assert all(check.get("fix") for check in checks.values() if check["ok"] is False)


def test_doctor_works_where_nothing_is(atoll, tmp_path: Path) -> None:
    done = atoll("doctor", cwd=tmp_path, ATOLL_PRETEND_ALIVE="0")
    assert "there is no atoll.toml" in done.stdout
    assert "`atoll up` starts it" in done.stdout


def test_doctor_without_a_workspace_asks_what_the_machine_serves(atoll, daemon: Served, tmp_path: Path) -> None:
    one = {"ATOLL_PRETEND_SERVED": "shop production"}
    checks = {check["check"]: check for check in json.loads(atoll("doctor", "--json", cwd=tmp_path, **one).stdout)}
    assert checks["served"]["text"] == "shop production, by its daemon"
    assert {"python", "envoy", "store"} <= set(checks)
    assert "workspace" not in checks  # there is none, and none is missed
    two = {"ATOLL_PRETEND_SERVED": "shop production,My Blog staging"}
    both = [check["check"] for check in json.loads(atoll("doctor", "--json", cwd=tmp_path, **two).stdout)]
    assert {"shop production: store", "My Blog staging: store"} <= set(both)
    assert both.count("python") == 1
    named = atoll("doctor", "--served", "My Blog", cwd=tmp_path, **two).stdout
    assert "My Blog staging, by its daemon" in named
    assert "shop production" not in named


def test_doctor_says_what_is_served_when_another_is_asked_for(atoll, tmp_path: Path) -> None:
    done = atoll("doctor", "--served", "shp", cwd=tmp_path, ATOLL_PRETEND_SERVED="shop production")
    assert done.returncode == 2
    assert "it serves: shop production" in done.stderr


def test_doctor_says_that_a_served_environment_is_silent(atoll, tmp_path: Path) -> None:
    done = atoll("doctor", cwd=tmp_path, ATOLL_PRETEND_SERVED="shop production", ATOLL_PRETEND_ALIVE="0")
    assert done.returncode == 1
    assert "systemctl status" in done.stdout


def test_the_schema_is_printed_anywhere(atoll, tmp_path: Path) -> None:
    assert json.loads(atoll("schema", cwd=tmp_path).stdout)["title"] == "service.toml"
    assert json.loads(atoll("schema", "workspace", cwd=tmp_path).stdout)["title"] == "atoll.toml"
    assert atoll("schema", "compose", cwd=tmp_path).returncode == 2


def test_check_needs_no_daemon(atoll, shop: Path) -> None:
    assert atoll("check").stdout == "shop: 6 services fine for 'local'\n"
    assert json.loads(atoll("check", "--json").stdout)["ok"] is True


def test_check_shows_all_problems_by_file_and_line(atoll, shop: Path) -> None:
    (shop / "atoll.toml").write_text('name = "shop"\nwrong = ["b", "a"]\n')
    done = atoll("check")
    assert done.returncode == 2
    assert done.stdout.splitlines() == [
        "a/service.toml:2: no `run`  [missing-field]",
        "b/service.toml:2: no `run`  [missing-field]",
        "2 problems found",
    ]
    assert [problem["file"] for problem in json.loads(atoll("check", "--json").stdout)["problems"]] == [
        "a/service.toml",
        "b/service.toml",
    ]
    assert "run `atoll check`" in atoll("up").stderr


def test_a_plan_shows_what_would_happen_and_asks_for_nothing(atoll, daemon: Served) -> None:
    done = atoll("deploy", "orders", "--plan")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "deploy orders r2, now r1",
        "  1. start 1 replica of r2 beside r1",
        "  2. move all requests from r1 to r2",
        "  changed   env LOG_LEVEL: info -> warn",
        "  routes    http://127.0.0.1:8080/orders",
        "  memory    at most 256 MiB; the machine has 1.0 GiB free",
        "  warning   orders calls payments, which does not run: its calls get 503 until then",
    ]
    assert "nothing was changed" in done.stderr
    for args in (
        ("restart", "orders"),
        ("rollback", "orders"),
        ("scale", "orders", "3"),
        ("down", "orders"),
        ("up",),
        ("down",),
    ):
        done = atoll(*args, "--plan")
        assert "nothing was changed" in done.stderr, (args, done.stderr)
        assert done.stdout
    assert daemon.control.requests == []


def test_a_plan_ends_as_the_command_would(atoll, daemon: Served) -> None:
    done = atoll("deploy", "orders", "broken", "--plan", "--json")
    assert done.returncode == 6
    assert [(view["service"], "refused" in view and bool(view["refused"])) for view in json.loads(done.stdout)] == [
        ("broken", True),
        ("orders", False),
    ]
    done = atoll("deploy", "orders", "--note", "refuse", "--plan")
    assert done.returncode == 4
    assert "refused, orders does not fit" in done.stdout


def test_up_can_be_planned_before_anything_runs(atoll) -> None:
    done = atoll("up", "orders", "--plan", ATOLL_PRETEND_ALIVE="0")
    assert done.returncode == 0, done.stderr
    assert "its keeper, proxy and daemon would start first" in done.stderr
    assert "the environment runs" not in done.stderr
    assert "nothing to do" in atoll("down", "--plan", ATOLL_PRETEND_ALIVE="0").stderr


def test_a_removed_store_is_absent_while_a_file_names_it_and_that_is_told(atoll, daemon: Served, shop: Path) -> None:
    known = daemon.control.services
    for name in ("ledger-db", "old-db"):
        known[name] = replace(known["orders"], name=name, store="postgres")
    with (shop / "atoll.toml").open("a") as file:
        file.write('stores = ["ledger-db"]\n')
    assert "the next `atoll up` makes a new, empty one" in atoll("store", "remove", "ledger-db", "--plan").stdout
    for name, told in (("ledger-db", True), ("old-db", False)):
        done = atoll("store", "remove", name, "--yes")
        assert done.returncode == 0, done.stderr
        assert ("the next `atoll up` makes a new, empty one" in done.stderr) == told
    listed = {one["name"]: one["state"] for one in json.loads(atoll("store", "list", "--json").stdout)}
    assert listed == {"ledger-db": "absent"}


def test_what_is_uninstalled_is_said_to_have_no_api(atoll) -> None:
    there = atoll("install", "shop", "--env", "production").stderr
    assert "x.service" in there
    assert "is installed and running; its API is /run/atoll/shop.production.sock" in there
    gone = atoll("uninstall", "shop", "--env", "production", "--yes").stderr
    assert "atoll-shop-production.service is removed\n" in gone
