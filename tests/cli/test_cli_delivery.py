"""`deploy --affected`, gates, records and reports, as the command line has them."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from atoll.cli.conversation import UNKNOWN_ADDRESS
from atoll.cli.failed import Failed
from atoll.cli.settle import in_force
from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
from atoll.model.wire import DeployRequest
from atoll.testing.fake_control import Served

SERVICES = 'name = "shop"\nservices = ["catalog", "orders", "payments"]\n'
LINE = '{"task":"orders.test","key":"k","outcome":"passed","seconds":1.0,"wall":2.0}\n'


@pytest.fixture
def shop(shop: Path) -> Path:
    (shop / "atoll.toml").write_text(SERVICES)
    return shop


def deployed(daemon: Served) -> list[str]:
    return [each.spec.name for each in daemon.control.requests if isinstance(each, DeployRequest)]


def test_affected_delivers_what_differs_and_what_is_new_and_tells_of_the_rest(atoll, daemon: Served) -> None:
    daemon.control.rollouts.same = {"catalog": "catalog r1 already runs exactly this: built again, same result"}
    done = atoll("deploy", "--affected")
    assert done.returncode == 0
    assert deployed(daemon) == ["orders", "payments"]
    assert "catalog: built again, same result\n1 service as the files say: nothing to do\n" in done.stderr
    assert next(line for line in done.stdout.splitlines() if "is live" in line).startswith("orders r2")
    assert "catalog" not in done.stdout


def test_affected_narrowed_by_names_looks_at_those_alone(atoll, daemon: Served) -> None:
    assert atoll("deploy", "--affected", "orders").returncode == 0
    assert deployed(daemon) == ["orders"]


def test_what_somebody_stopped_stays_down_unless_it_is_named(atoll, daemon: Served) -> None:
    assert atoll("down", "orders").returncode == 0
    done = atoll("deploy", "--affected")
    assert "orders was stopped, and stays down; `atoll deploy orders` starts it" in done.stderr
    assert deployed(daemon) == ["catalog", "payments"]
    assert atoll("deploy", "--affected", "orders").returncode == 0
    assert deployed(daemon)[-1] == "orders"


def test_nothing_affected_says_so_and_ends_well(atoll, daemon: Served) -> None:
    daemon.control.rollouts.same = dict.fromkeys(("catalog", "orders", "payments"), "already runs exactly this")
    for more in ((), ("--plan",)):
        done = atoll("deploy", "--affected", *more)
        assert (done.returncode, done.stdout) == (0, "")
        assert "3 services as the files say: nothing to do" in done.stderr
    listed = json.loads(atoll("deploy", "--affected", "--json").stdout)
    assert {each["phase"] for each in listed} == {"unchanged"}


def test_deploy_without_a_name_says_what_there_is_and_force_is_no_part_of_affected(atoll) -> None:
    assert "--affected is every one that changed" in atoll("deploy").stderr
    assert atoll("deploy", "--affected", "--force").returncode == 2


def test_a_draft_brings_keys_and_records_where_the_environment_requires_something(
    atoll, daemon: Served, shop: Path
) -> None:
    assert atoll("deploy", "orders").returncode == 0
    (shop / "atoll.toml").write_text(f'{SERVICES}require = ["test"]\n')
    assert atoll("deploy", "orders", "--override-gate", "a test").returncode == 0
    before, after = (each for each in daemon.control.requests if isinstance(each, DeployRequest))
    assert (before.tasks, before.records) == (None, ())
    assert after.tasks == {"build": "key-orders", "test": "k2", "lint": "k3"}
    assert [(record.task, record.key) for record in after.records] == [("orders.test", "k2")]
    assert after.override_gate == "a test"


def require(daemon: Served, shop: Path) -> None:
    """atoll.toml asks for green tests, and the environment was told."""
    (shop / "atoll.toml").write_text(f'{SERVICES}require = ["test"]\n')
    daemon.control.settings = replace(daemon.control.settings, require=("test",))


@pytest.mark.parametrize("more", [(), ("--plan",)])
def test_a_gate_that_the_environment_was_not_told_of_is_no_open_gate(
    atoll, daemon: Served, shop: Path, more: tuple[str, ...]
) -> None:
    (shop / "atoll.toml").write_text(f'{SERVICES}require = ["test"]\n')
    for names in (("orders",), ("--affected",)):
        done = atoll("deploy", *names, *more)
        assert (done.returncode, deployed(daemon)) == (4, [])
        assert (
            "error[gate-shut]: nothing is deployed: 'local' does not ask for test yet, as atoll.toml says it must"
            in done.stderr
        )
        assert "fix: `atoll up` takes it over; or say why" in done.stderr


def test_what_the_environment_does_not_run_with_yet_is_told(atoll, daemon: Served) -> None:
    daemon.control.settings = replace(daemon.control.settings, require=("lint",))
    done = atoll("deploy", "orders")
    assert done.returncode == 0
    assert "warning: 'local' runs with another require than atoll.toml says; `atoll up` takes it over" in done.stderr


@pytest.mark.parametrize(("kind", "id"), [("Forbidden", "not-allowed"), (UNKNOWN_ADDRESS, "daemon-newer")])
def test_where_the_settings_cannot_be_seen_the_daemon_has_the_last_word(kind: str, id: str) -> None:
    def environment() -> None:
        raise Failed("you may not see the settings here", id=cast("Any", id), kind=kind)

    session = SimpleNamespace(places=SimpleNamespace(machine=""), client=SimpleNamespace(environment=environment))
    told = WorkspaceSpec(name="shop", root="/x", environment=EnvironmentSpec(require=("test",)))
    in_force(cast("Any", session), told, overridden=False)


def test_what_cannot_be_told_is_not_let_in_without_a_reason(atoll, daemon: Served, shop: Path) -> None:
    require(daemon, shop)
    done = atoll("deploy", "catalog")
    assert (done.returncode, "what catalog.test would run with cannot be told\n  why: no go" in done.stderr) == (
        2,
        True,
    )
    assert deployed(daemon) == []
    assert atoll("deploy", "catalog", "--override-gate", "no go here").returncode == 0


def test_files_that_changed_since_they_were_built_are_not_let_in_by_what_is_green_now(
    atoll, daemon: Served, shop: Path
) -> None:
    require(daemon, shop)
    done = atoll("deploy", "orders", PRETEND_BUILD_KEY="key-of-an-edit")
    assert (done.returncode, "its files changed while it was built" in done.stderr) == (2, True)
    assert deployed(daemon) == []
    assert atoll("deploy", "orders", "--override-gate", "as it was", PRETEND_BUILD_KEY="key-of-an-edit").returncode == 0


# --- records


def test_what_is_exported_can_be_imported_and_twice_is_once(atoll, daemon: Served, tmp_path: Path) -> None:
    exported = atoll("records", "export")
    assert json.loads(exported.stdout)["author"]["commit"] == "c0ffee1234567890"
    (tmp_path / "records.jsonl").write_text(exported.stdout)
    plan = atoll("records", "import", str(tmp_path / "records.jsonl"), "--plan")
    assert plan.stdout == "1 record: 1 would be new, 0 known\n"
    assert not daemon.control.task_records
    assert atoll("records", "import", str(tmp_path / "records.jsonl")).stdout == "1 record: 1 new, 0 known\n"
    assert atoll("records", "import", "-", stdin=exported.stdout).stdout == "1 record: 0 new, 1 known\n"
    assert "orders.test" in atoll("records", "list", "--held").stdout
    assert atoll("records", "export", "--since", "1h").stdout == ""


@pytest.mark.parametrize(
    "text", ['{"task": "orders.test"}\n', "no json\n", "\xff\n", '{"task":"a.b","key":"k","outcome":"green"}\n']
)
def test_a_line_that_is_no_record_is_named_and_nothing_is_imported(atoll, daemon: Served, text: str) -> None:
    done = atoll("records", "import", "-", stdin=LINE + "\n" + text)
    assert (done.returncode, "line 3 of <stdin> is no record" in done.stderr) == (2, True)
    assert not daemon.control.task_records


# --- reports


def test_a_run_writes_the_reports_that_are_asked_for_in_folders_that_it_makes(atoll, tmp_path: Path) -> None:
    junit, summary = tmp_path / "out/junit.xml", tmp_path / "out/summary.md"
    done = atoll("ci", "broken", "--junit", str(junit), "--summary", str(summary))
    assert done.returncode == 3
    assert '<testsuite name="orders" tests="1" failures="1"' in junit.read_text()
    assert summary.read_text().startswith("### ❌ atoll ci: 1 failed")
    assert "::" not in done.stdout


def test_a_report_that_cannot_be_written_is_told(atoll, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = atoll("ci", "--junit", str(tmp_path / "file/junit.xml"))
    assert (done.returncode, "error[cannot-write]" in done.stderr) == (2, True)


def test_on_github_output_is_folded_places_are_marked_and_the_page_gets_the_summary(atoll, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n")
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(page), "ATOLL_NAMESPACE": "trusted"}
    done = atoll("ci", "broken", **github)
    assert "::group::what orders.test printed last\n::stop-commands::" in done.stdout
    told = "::error title=orders.test failed::step 1 of 1 (npm test) ended with exit code 1\n"
    assert done.stdout.endswith(told)
    assert page.read_text().startswith("before\n### ❌ atoll ci: 1 failed")
    quiet = atoll("ci", "broken", "--no-annotations", **github | {"GITHUB_STEP_SUMMARY": str(tmp_path)})
    assert "::error" not in quiet.stdout
    assert "the summary could not be added to the job's page" in quiet.stderr
    json.loads(atoll("ci", "broken", "--json", **github).stdout)


def test_on_gitlab_output_is_folded(atoll) -> None:
    done = atoll("ci", "broken", GITLAB_CI="true", ATOLL_NAMESPACE="trusted")
    assert "\x1b[0Ksection_start:" in done.stdout  # the escape too, though no terminal is there


def test_a_plan_is_a_matrix_for_the_systems_that_want_one(atoll) -> None:
    github = atoll("ci", "--plan", "--format", "github").stdout
    assert github == 'matrix={"include":[{"service":"orders","tasks":"build test"}]}\nany=true\n'
    assert "atoll orders" in atoll("ci", "--plan", "--format", "gitlab").stdout
    assert atoll("ci", "--format", "github").returncode == 2


# --- files


def test_files_of_a_ci_system_are_written_once_at_the_top_of_the_repository(atoll, shop: Path) -> None:
    top = shop.parent
    (top / ".git").mkdir()
    (top / ".git/HEAD").write_text("ref: refs/heads/trunk\n")
    planned = atoll("init", "--ci", "github", "--plan")
    assert 'branches: ["trunk"]' in planned.stdout
    assert not (top / ".github").exists()
    assert atoll("init", "--ci", "github").stdout == "wrote .github/workflows/atoll.yml\n"
    text = (top / ".github/workflows/atoll.yml").read_text()
    assert 'working-directory: "shop"' in text
    assert "--env production" in text
    again = atoll("init", "--ci", "github")
    assert (again.returncode, "is there already" in again.stderr) == (2, True)
    assert (top / ".github/workflows/atoll.yml").read_text() == text
    made = json.loads(atoll("init", "--ci", "gitlab", "--json").stdout)
    assert sorted(made["files"]) == [".gitlab-ci.yml", ".gitlab/atoll.yml"]
