"""Jobs on the way out: units, timers that mean what cron meant, compose's one-off containers, and what is left."""

import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from atoll.decide.schedule import next_due
from atoll.eject import Recipe, files
from atoll.eject.calendar import on_calendar
from atoll.model.spec import Command, Job
from atoll.workspace.loader import load

SERVICE = """
run = "./orders --port {port}"
env = { DB = "{data}/orders.db", SELF = "{url}" }
[jobs]
reindex = "./orders reindex"
[jobs.nightly]
run = ["./orders", "report"]
schedule = "0 3 * * MON-FRI"
time_zone = "Europe/Berlin"
timeout = "10m"
retries = 2
env = { TOKEN = { secret = "report" } }
[rollout]
before = "./orders migrate"
"""
SWEEPER = '[jobs.sweep]\nrun = "./sweep"\nschedule = "0 0 L * *"\noverlap = "queue"\n'


def made(root: Path) -> dict[str, str]:
    for name, text in {
        "atoll.toml": 'name = "shop"',
        "orders/service.toml": SERVICE,
        "sweeper/service.toml": SWEEPER,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    recipes = {"orders": Recipe("command"), "sweeper": Recipe("command")}
    return dict(files(load(root), recipes, str(root / "ejected")))


def test_how_a_service_is_run_while_it_is_edited_is_told_as_left(tmp_path: Path) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "atoll.toml").write_text("")
    (tmp_path / "web/service.toml").write_text('run = "node dist.js"\ndev = "npm run dev"\n')
    written = files(load(tmp_path), {"web": Recipe("node")}, str(tmp_path / "ejected"))
    assert [name for name, text in written.items() if "develop.watch" in text]
    assert not [name for name, text in written.items() if "npm run dev" in text]


def test_a_scheduled_job_is_a_oneshot_unit_and_a_timer(tmp_path: Path) -> None:
    written = made(tmp_path)
    unit = written["systemd/shop-orders-nightly.service"].splitlines()
    assert {"Type=oneshot", "ExecStart=/usr/bin/env ./orders report", "TimeoutStartSec=600s", "Restart=on-failure"} <= {
        *unit
    }
    assert not [line for line in unit if "PORT" in line or "SELF" in line]
    assert "Environment=DB=/var/lib/shop/orders/orders.db" in unit
    assert "OnCalendar=Mon,Tue,Wed,Thu,Fri *-*-* 03:00:00 Europe/Berlin" in written["systemd/shop-orders-nightly.timer"]
    assert "Wants=shop-orders-nightly.timer" in written["systemd/shop.target"]
    assert "TOKEN=" in written["systemd/orders.env.example"]
    assert "systemd/shop-orders-reindex.timer" not in written
    assert "systemd/shop-orders-before.service" in written
    assert [name for name in written if name.startswith("systemd/shop-sweeper")] == [
        "systemd/shop-sweeper-sweep.service"
    ]


def test_compose_runs_what_is_before_a_release_first_and_jobs_when_asked(tmp_path: Path) -> None:
    services = yaml.safe_load(made(tmp_path)["compose.yaml"])["services"]
    assert services["orders"]["depends_on"]["orders-before"] == {"condition": "service_completed_successfully"}
    assert services["orders-before"]["restart"] == "no"
    assert "profiles" not in services["orders-before"]
    assert services["orders-nightly"]["profiles"] == services["sweeper-sweep"]["profiles"] == ["jobs"]
    assert services["orders-nightly"]["environment"]["TOKEN"] == "${REPORT:?set it in .env}"
    assert services["orders-nightly"]["volumes"] == ["orders-data:/data"]
    assert "sweeper" not in services


def test_what_of_jobs_is_not_carried_over_is_listed(tmp_path: Path) -> None:
    page = made(tmp_path)["README.md"]
    assert "`jobs.nightly`: compose has no schedule; `docker compose run --rm orders-nightly` runs it." in page
    assert "`jobs.sweep`: systemd cannot say the schedule 0 0 L * *; its unit has no timer." in page
    assert '`jobs.sweep`: `overlap = "queue"`' in page
    assert "`rollout.before` ./orders migrate: compose runs it at each `up`" in page


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
@pytest.mark.parametrize(
    "schedule",
    ["0 3 * * *", "*/10 8-18 * * MON-FRI", "0 0 1 */3 *", "15 4 13 * 5", "* * * * * *", "30 2 29 2 *", "0 12 * * 0,7"],
)
def test_a_timer_is_due_when_cron_was(schedule: str) -> None:
    job = Job(name="j", run=Command(shell="x"), schedule=schedule)
    after = datetime(2026, 11, 26, 12, 34, 56, tzinfo=UTC).timestamp()
    due = next_due(job, after)
    assert due is not None
    found = []
    for line in on_calendar(job):
        base = f"--base-time=@{after:.0f}"
        done = subprocess.run(
            ["systemd-analyze", "calendar", base, line], capture_output=True, text=True, timeout=30, check=True,
            env={"TZ": "UTC", "PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        )  # fmt: skip
        [text] = [each.partition(":")[2].strip() for each in done.stdout.splitlines() if "Next elapse" in each]
        found.append(datetime.strptime(text, "%a %Y-%m-%d %H:%M:%S %Z").replace(tzinfo=UTC).timestamp())
    assert min(found) == due
