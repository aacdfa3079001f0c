"""From a commit to production: a CI machine with a shallow clone, records in a file, an environment that asks for them."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lab import Lab

TASKS = f"""
[tasks]
test = "{sys.executable} -S check.py"
lint = "{sys.executable} -S -m tabnanny echo_service.py"
"""
PRODUCTION = '\n[environments.production]\nrequire = ["test", "lint"]\n'


def git(folder: Path, *argv: str) -> None:
    who = {
        "GIT_AUTHOR_NAME": "ada",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "ada",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", *argv], cwd=folder, env=plain | who, check=True, capture_output=True, timeout=60)


class Machine:
    """Another machine: a clone of its own, a home of its own, and the variables of its CI system."""

    def __init__(self, lab: Lab, name: str, variables: Mapping[str, str]) -> None:
        self.root = lab.root.parent / name / "ws"
        self.root.parent.mkdir()
        git(self.root.parent, "clone", "-q", "--depth", "1", f"file://{lab.root}", "ws")
        self.env = {**lab.env, "ATOLL_HOME": str(self.root.parent / "home"), "ATOLL_ENV": "local", **variables}

    def atoll(self, *argv: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "atoll.app", *argv],
            cwd=self.root, env=self.env, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code, f"{argv}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def ran(self, *argv: str) -> set[str]:
        """`atoll ci`: the tasks that were really run, all of which passed."""
        result: dict[str, Any] = json.loads(self.atoll("ci", *argv, "--json"))
        assert result["ok"]
        return {task["task"] for task in result["tasks"] if not task["cached"]}


@pytest.fixture
def shop(lab: Lab) -> Lab:
    """Two services with tests, in git, and an environment that lets in only what is green."""
    lab.env = {name: value for name, value in lab.env.items() if not name.startswith(("GITHUB_", "CI", "GITLAB_"))}
    lab.env["ATOLL_ENV"] = "production"
    with (lab.root / "atoll.toml").open("a") as file:
        file.write(PRODUCTION)
    for name in ("orders", "web"):
        lab.service(name, TASKS)
        (lab.root / name / "check.py").write_text(f"import echo_service  # {name}: equal files would be one task\n")
    git(lab.root, "init", "-q", "-b", "main")
    commit(lab, "begin")
    return lab


def commit(lab: Lab, message: str) -> None:
    git(lab.root, "add", "-A")
    git(lab.root, "commit", "-q", "-m", message)


def affected(lab: Lab, code: int = 0) -> dict[str, str]:
    """`deploy --affected`: service -> how its rollout ended, of those that changed."""
    text = lab.atoll("deploy", "--affected", "--json", code=code)
    found = json.loads(text)
    operations = found if isinstance(found, list) else []  # else an error: the only one was refused
    return {each["service"]: each["phase"] for each in operations if each["phase"] != "unchanged"}


def test_what_a_ci_machine_tested_is_delivered_and_nothing_else(shop: Lab, tmp_path: Path) -> None:
    ci = Machine(shop, "ci", {})
    assert ci.ran() == {f"{service}.{task}" for service in ("orders", "web") for task in ("build", "test", "lint")}
    assert ci.ran() == set()
    records = tmp_path / "records.jsonl"
    records.write_text(ci.atoll("records", "export"))

    shop.atoll("up", code=4)  # the environment runs, and lets nothing in yet
    assert affected(shop, code=4) == {}
    assert shop.atoll("records", "import", str(records)) == "6 records: 6 new, 0 known\n"
    assert affected(shop) == {"orders": "live", "web": "live"}
    assert shop.get("/orders/x")["version"] == "v1"
    assert affected(shop) == {}

    shop.service("orders", TASKS, env={"VERSION": "v2"})
    (shop.root / "orders/check.py").write_text("import echo_service  # as ever\n")
    commit(shop, "orders v2")
    proposal = Machine(shop, "proposal", {"ATOLL_NAMESPACE": "pr-7"})
    proposal.ran()
    records.write_text(proposal.atoll("records", "export"))
    assert "6 of pull requests left out" in shop.atoll("records", "import", str(records))
    assert affected(shop, code=4) == {}
    assert shop.get("/orders/x")["version"] == "v1"

    git(ci.root, "fetch", "-q", "--depth", "1", "origin", "main")
    git(ci.root, "reset", "-q", "--hard", "FETCH_HEAD")
    assert ci.ran() == {"orders.build", "orders.test", "orders.lint"}
    records.write_text(ci.atoll("records", "export"))
    assert shop.atoll("records", "import", str(records)) == "9 records: 3 new, 6 known\n"
    [planned] = [plan for plan in shop.json("deploy", "--affected", "--plan") if not plan["unchanged"]]
    assert (planned["service"], planned["release"]) == ("orders", "r2")
    assert affected(shop) == {"orders": "live"}
    assert shop.get("/orders/x")["version"] == "v2"

    told = [json.loads(line) for line in shop.atoll("events", "--json").splitlines()]
    imported = [event for event in told if event["kind"] == "records.imported"]
    assert len(imported) == 2
    assert [len(each["data"]["commits"]) for each in imported] == [1, 1]
    assert all(found["commit_wall"] for each in imported for found in each["data"]["commits"].values())
    shop.atoll("rollback", "orders")  # never asked
    assert shop.get("/orders/x")["version"] == "v1"


def test_a_deploy_brings_the_records_of_its_own_machine_and_a_reason_opens_the_gate(shop: Lab) -> None:
    shop.atoll("ci", "orders")
    shop.atoll("up", code=4)
    assert [service["name"] for service in shop.status()["services"] if service["state"] == "up"] == ["orders"]
    done = shop.run("deploy", "web")
    assert (done.returncode, "error[gate-shut]" in done.stderr) == (4, True)
    shop.atoll("deploy", "web", "--override-gate", "a rehearsal")
    started = [event for event in shop.events("web") if event["kind"] == "rollout.started"]
    assert started[0]["data"]["override_gate"] == "a rehearsal"


def test_affected_delivers_after_a_first_release_that_failed_and_leaves_down_what_was_stopped(lab: Lab) -> None:
    lab.service("orders", env={"CRASH": "1"})
    lab.service("web", '[calls.orders]\nenv = { UPSTREAM = "{url}" }\n')
    lab.atoll("up", "web")
    assert affected(lab, code=3) == {"orders": "undone"}
    lab.service("orders")
    assert affected(lab) == {"orders": "live"}
    lab.atoll("down", "orders", "--yes")
    done = lab.run("deploy", "--affected")
    assert (done.returncode, done.stdout) == (0, "")
    assert "orders was stopped, and stays down" in done.stderr
    assert "1 service as the files say: nothing to do" in done.stderr
    assert json.loads(lab.atoll("deploy", "--affected", "orders", "--json"))[0]["phase"] == "live"
