"""`atoll ci` on the command line: what is shown of any number of tasks, on a terminal and elsewhere."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAM = Path(__file__).with_name("pretend_atoll.py")


def test_a_failure_is_shown_with_what_it_printed_and_cached_ones_are_counted(atoll) -> None:
    done = atoll("ci", "broken")
    assert done.returncode == 3
    assert done.stdout.splitlines() == [
        "~ cart.test is flaky: it passed at attempt 3",
        "✗ orders.test: step 1 of 1 (npm test) ended with exit code 1 [build-step-failed]",
        "    $ npm test",
        "    expected 1 [bold]to be 2",
        "  fix: the whole output is in /logs/x",
        "- cart.e2e skipped: orders.test did not pass",
        "✗ 1 cached, 1 flaky, 1 failed, 1 skipped in 4.00 s; 40 services unaffected; 90.0 s saved",
    ]
    assert done.stderr.splitlines() == [
        "orders.test: 1/1 npm test",
        "orders.test: failed: step 1 failed",
        "cart.test: passed at attempt 3 in 1.00 s: its first run",
    ]


def test_what_passed_is_one_line_of_numbers(atoll) -> None:
    done = atoll("ci", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("✓ 1 passed, 1 cached, 1 flaky in 4.00 s")


def test_a_plan_lists_what_would_run_and_why(atoll) -> None:
    done = atoll("ci", "--plan")
    assert done.returncode == 0
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["task", "took", "why"],
        ["orders.build", "3.00", "s", "main.go", "changed"],
        ["orders.test", "orders.build", "changed"],
        ["2", "tasks", "would", "run,", "1", "cached,", "3", "services", "unaffected;", "2.50", "s", "saved"],
    ]


def test_ctrl_c_says_that_nothing_runs_any_more(environ: dict[str, str], shop: Path) -> None:
    argv = [sys.executable, str(PROGRAM), "ci", "slow"]
    with subprocess.Popen(argv, env=environ, cwd=shop, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        try:
            assert "npm test" in program.stderr.readline()
            time.sleep(0.2)  # until it waits
            program.send_signal(signal.SIGINT)
            assert program.wait(50) == 130
            assert "cancelled: nothing of it runs any more" in program.stderr.read()
        finally:
            program.kill()


def test_tasks_complete_behind_their_service(environ: dict[str, str], shop: Path) -> None:
    def offered(*words: str) -> list[str]:
        asked = {"_ATOLL_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("atoll", "ci", *words)), "COMP_CWORD": "2"}
        done = subprocess.run(
            [sys.executable, str(PROGRAM)], env={**os.environ, **environ, **asked}, cwd=shop,
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert "orders" in offered("o")
    assert offered("orders.") == ["orders.build"]
