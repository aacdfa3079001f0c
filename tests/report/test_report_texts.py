"""What a run says to CI systems, to the letter."""

import json
from pathlib import Path

import pytest
import yaml
from junitparser import xunit2

from atoll.model.command import Command
from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
from atoll.model.records import CiPlan, PlannedTask, TaskResult, Undeclared, ci_result
from atoll.model.spec import Build, ServiceSpec
from atoll.model.task import Task
from atoll.pipeline.report.folding import folded, system
from atoll.pipeline.report.junit import junit
from atoll.pipeline.report.mask import masked, masker, secret_values, spelled
from atoll.pipeline.report.matrix import github, gitlab, jobs
from atoll.pipeline.report.summary import summary

RESULT = ci_result(
    (
        TaskResult(task="orders.build", outcome="passed", why="server.js changed", seconds=1.25),
        TaskResult(
            task="orders.test", outcome="failed", why="server.js changed", seconds=0.5, reason="exit code 1",
            output='\x1b[31mexpected <2> & got "3"\x1b[0m\n\x07boom\n',
        ),
        TaskResult(task="orders.e2e", outcome="timed-out", seconds=60.0, reason="took longer than 60 s", output="..."),
        TaskResult(task="catalog.build", outcome="passed", cached=True, seconds=3.0),
        TaskResult(task="catalog.test", outcome="flaky", why="its first run", seconds=2.0, attempts=3, output="no port"),
        TaskResult(task="catalog.lint", outcome="skipped", why="catalog.gen did not pass"),
    ),
    seconds=64.0,
    saved_s=180.0,
    unaffected=4,
)  # fmt: skip

JUNIT = """<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="atoll ci" tests="6" failures="1" errors="1" time="63.750">
  <testsuite name="catalog" tests="3" failures="0" errors="0" time="2.000" skipped="1">
    <testcase classname="catalog" name="build" time="0.000">
      <system-out>cached: it passed before with the same files</system-out>
    </testcase>
    <testcase classname="catalog" name="lint" time="0.000">
      <skipped message="catalog.gen did not pass" type="skipped"/>
    </testcase>
    <testcase classname="catalog" name="test" time="2.000">
      <flakyFailure message="passed at attempt 3" type="flaky">no port</flakyFailure>
    </testcase>
  </testsuite>
  <testsuite name="orders" tests="3" failures="1" errors="1" time="61.750" skipped="0">
    <testcase classname="orders" name="build" time="1.250"/>
    <testcase classname="orders" name="e2e" time="60.000">
      <error message="took longer than 60 s" type="timed-out">...</error>
    </testcase>
    <testcase classname="orders" name="test" time="0.500">
      <failure message="exit code 1" type="failed">expected &lt;2&gt; &amp; got "3"
\ufffdboom
</failure>
    </testcase>
  </testsuite>
</testsuites>
"""

SUMMARY = """### ❌ atoll ci: 2 failed, 1 flaky, 1 passed, 1 cached, 1 skipped in 64 s; 3 min saved

| service | task | outcome | why | seconds | cached |
|---|---|---|---|--:|---|
| orders | test | ❌ failed | exit code 1 | 0.50 s |  |
| orders | e2e | ❌ timed out | took longer than 60 s | 60 s |  |
| catalog | test | ⚠️ flaky (3 attempts) | its first run | 2.00 s |  |
| catalog | lint | ⏭️ skipped | catalog.gen did not pass |  |  |
| orders | build | ✅ passed | server.js changed | 1.25 s |  |
| catalog | build | ✅ passed |  |  | yes, 3.00 s saved |

Not affected: 4 services.

<details><summary>orders.test failed: exit code 1</summary>

```text
expected <2> & got "3"
\x07boom
```

</details>

<details><summary>orders.e2e timed out: took longer than 60 s</summary>

```text
...
```

</details>
"""


def test_junit_is_a_suite_a_service_and_a_case_a_task() -> None:
    assert junit(RESULT) == JUNIT


def test_an_audit_that_found_something_is_a_failure() -> None:
    found = (Undeclared(path="libs/money/", count=3, hint="declare it"),)
    text = junit(ci_result((TaskResult(task="orders.test", outcome="passed", seconds=1.0, undeclared=found),)))
    assert '<failure message="read what is not declared" type="undeclared">libs/money/</failure>' in text
    assert 'tests="1" failures="1"' in text


def test_a_real_reader_of_junit_takes_it(tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_text(junit(RESULT))
    read = xunit2.JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    cases = {f"{case.classname}.{case.name}": case for suite in read for case in suite}
    assert (read.tests, read.failures, read.errors) == (6, 1, 1)
    assert [type(found).__name__ for found in cases["orders.test"].result] == ["Failure"]
    assert cases["catalog.test"].is_passed
    assert [found.message for found in cases["catalog.test"].flaky_failures()] == ["passed at attempt 3"]
    assert cases["catalog.lint"].is_skipped


def test_the_summary_has_the_worst_first() -> None:
    assert summary(RESULT) == SUMMARY


def test_what_a_task_prints_cannot_leave_its_block_nor_its_cell() -> None:
    evil = TaskResult(
        task="orders.test", outcome="failed", reason="a | b\n<script>", output="```\n</details> # Injected\n```"
    )
    text = summary(ci_result((evil,)))
    assert "| a \\| b &lt;script&gt; |" in text
    assert "````text\n```\n</details> # Injected\n```\n````" in text


def test_long_lists_and_outputs_are_cut() -> None:
    many = tuple(TaskResult(task=f"s{n}.test", outcome="failed", output="x" * 10_000) for n in range(300))
    text = summary(ci_result(many))
    assert "And 200 more." in text
    assert len(text) < 2**18


def test_an_empty_run_says_so() -> None:
    assert summary(ci_result((), unaffected=1)) == (
        "### ✅ atoll ci: nothing to do in 0.00 s\n\nNot affected: 1 service.\n"
    )


# --- secrets


def test_no_secret_is_in_what_was_printed_however_it_is_spelled() -> None:
    token = "s3cr/et token"
    printed = f"GET ?t=s3cr%2Fet%20token\nBasic czNjci9ldCB0b2tlbg==\n{token} and line two\n"
    task = TaskResult(task="orders.test", outcome="failed", reason=f"exit code 1 near {token}", output=printed)
    shown = masked(ci_result((task,)), masker(spelled([f"{token}\nline two\n", "no"])))
    assert shown.tasks[0].output == "GET ?t=***\nBasic ***\n*** and ***\n"
    assert shown.tasks[0].reason == "exit code 1 near ***"
    assert "line two" not in junit(shown)


def test_secrets_are_the_values_of_what_builds_and_tasks_of_services_and_libraries_are_passed() -> None:
    def spec(name: str, *passed: str) -> ServiceSpec:
        return ServiceSpec(name=name, run=Command(shell="x"), build=Build(passed=passed))

    workspace = WorkspaceSpec(
        name="shop",
        root="/ws",
        environment=EnvironmentSpec(),
        services={"orders": spec("orders", "NPM_TOKEN", "UNSET")},
        libraries={"money": spec("money", "INDEX")},
        tasks={"orders": (Task(name="test", steps=(), passed=("KEY",), inherit=("MODE",)),)},
    )
    environ = {"NPM_TOKEN": "npm_123", "INDEX": "user:pw", "KEY": "k3y-", "MODE": "debug", "HOME": "/root"}
    found = secret_values(workspace, environ)
    assert {"npm_123", "user:pw", "user%3Apw", "k3y-"} <= set(found)
    assert not {"debug", "/root"} & set(found)
    assert [len(each) for each in found] == sorted((len(each) for each in found), reverse=True)


def test_secrets_are_also_the_tokens_and_passwords_among_what_every_task_gets_and_inherits() -> None:
    task = Task(name="test", steps=(), inherit=("DEPLOY_TOKEN", "DATABASE_URL", "MODE"))
    workspace = WorkspaceSpec(
        name="shop", root="/ws", environment=EnvironmentSpec(), services={}, tasks={"orders": (task,)}
    )
    environ = {
        "NODE_AUTH_TOKEN": "npm_abc",
        "PIP_INDEX_URL": "https://ci:p%40ssw0rd@pypi.example/simple",
        "UV_INDEX_ACME_PASSWORD": "hunter22",
        "DEPLOY_TOKEN": "dep_1",
        "DATABASE_URL": "postgres://app:sesame@db/shop",
        "MODE": "debug",
        "GOPROXY": "https://proxy.example",
        "AWS_SECRET_ACCESS_KEY": "no task gets it",
    }
    found = secret_values(workspace, environ)
    assert {"npm_abc", "p%40ssw0rd", "p@ssw0rd", "hunter22", "dep_1", "sesame"} <= set(found)
    assert not {"debug", "https://proxy.example", "no task gets it"} & set(found)


# --- matrices

PLAN = CiPlan(
    tasks=(
        PlannedTask(task="orders.test", runs=True, expected_s=5.0),
        PlannedTask(task="orders.build", runs=True, expected_s=2.0),
        PlannedTask(task="catalog.build", runs=False, expected_s=9.0),
        PlannedTask(task="image.lint", runs=True),
    ),
    unaffected=3,
)


def test_githubs_matrix_is_two_lines_for_its_output_file() -> None:
    assert github(PLAN) == (
        'matrix={"include":[{"service":"image","tasks":"lint"},{"service":"orders","tasks":"build test"}]}\nany=true\n'
    )
    assert github(CiPlan(unaffected=7)) == 'matrix={"include":[]}\nany=false\n'


def test_gitlabs_is_a_child_pipeline_that_is_never_empty() -> None:
    text = gitlab(PLAN)
    assert yaml.safe_load(text) == {
        "include": [{"local": "/.gitlab/atoll.yml"}],
        "stages": ["test"],
        "atoll image": {
            "extends": ".atoll",
            "stage": "test",
            "script": ['atoll ci image --junit "$CI_PROJECT_DIR/.atoll/junit.xml"'],
        },
        "atoll orders": {
            "extends": ".atoll",
            "stage": "test",
            "script": ['atoll ci orders --junit "$CI_PROJECT_DIR/.atoll/junit.xml"'],
        },
    }
    assert yaml.safe_load(gitlab(CiPlan()))["nothing-affected"]["script"] == ["echo nothing is affected"]


def test_more_services_than_a_matrix_takes_share_jobs_the_longest_first() -> None:
    seconds = {"a": 10.0, "b": 6.0, "c": 5.0, "d": 1.0}
    plan = CiPlan(tasks=tuple(PlannedTask(task=f"{n}.test", runs=True, expected_s=s) for n, s in seconds.items()))
    assert [(job.services, job.seconds) for job in jobs(plan, 2)] == [(("a", "d"), 11.0), (("b", "c"), 11.0)]
    thousand = CiPlan(tasks=tuple(PlannedTask(task=f"s{n}.test", runs=True) for n in range(1000)))
    matrix = json.loads(github(thousand).splitlines()[0].removeprefix("matrix="))
    assert len(matrix["include"]) == 256
    assert len({name for each in matrix["include"] for name in each["service"].split()}) == 1000


# --- folding


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, ""),
        ({"CI": "false"}, ""),
        ({"GITHUB_ACTIONS": "true", "CI": "true"}, "github"),
        ({"GITLAB_CI": "true", "CI": "true"}, "gitlab"),
        ({"JENKINS_URL": "http://jenkins"}, "other"),
        ({"CI": "true"}, "other"),
    ],
)
def test_the_system_is_told_by_its_variables(environ: dict[str, str], found: str) -> None:
    assert system(environ) == found


def test_output_is_folded_and_obeyed_by_nobody() -> None:
    printed = "::error::mine\n::set-output name=x::y"
    assert folded("orders.test failed", printed, "github", wall=1.0, token="t0k3n") == (
        "::group::orders.test failed\n::stop-commands::t0k3n\n"
        "::error::mine\n::set-output name=x::y\n::t0k3n::\n::endgroup::\n"
    )
    assert folded("orders.test failed", "boom", "gitlab", wall=12.9, token="") == (
        "\x1b[0Ksection_start:12:orders_test_failed[collapsed=true]\r\x1b[0Korders.test failed\n"
        "boom\n\x1b[0Ksection_end:12:orders_test_failed\r\x1b[0K\n"
    )
    assert folded("orders.test failed", "boom\n", "", wall=0.0, token="") == "orders.test failed\nboom\n"
