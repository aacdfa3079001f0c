"""`[jobs]` and `[rollout]`: short forms, full forms, and what is said of wrong ones."""

from pathlib import Path

import pytest

from atoll.model.errors import InvalidWorkspace
from atoll.model.spec import Before, Command, Job, Plain, SecretRef, ServiceSpec
from atoll.workspace.loader import load


def read(root: Path, text: str) -> ServiceSpec:
    (root / "s").mkdir()
    (root / "atoll.toml").write_text("")
    (root / "s/service.toml").write_text(text)
    return load(root).services["s"]


def said(root: Path, text: str) -> list[str]:
    with pytest.raises(InvalidWorkspace) as caught:
        read(root, text)
    return [f"{p.line}: {p.what} | {p.fix}" for p in caught.value.problems]


def test_short_and_full_forms(tmp_path: Path) -> None:
    spec = read(
        tmp_path,
        """
run = "serve"
[jobs]
reindex = "./orders reindex"
sweep = ["./orders", "sweep"]
[jobs.nightly]
run = "./orders report"
schedule = "0  3 * * *"
time_zone = "Europe/Berlin"
timeout = "10m"
overlap = "queue"
retries = 2
starting_deadline = "15m"
env = { A = 1, B = { secret = "b" } }
""",
    )
    assert spec.jobs == (
        Job(name="reindex", run=Command(shell="./orders reindex")),
        Job(name="sweep", run=Command(argv=("./orders", "sweep"))),
        Job(
            name="nightly",
            run=Command(shell="./orders report"),
            schedule="0 3 * * *",
            time_zone="Europe/Berlin",
            timeout_s=600.0,
            overlap="queue",
            retries=2,
            starting_deadline_s=900.0,
            env={"A": Plain("1"), "B": SecretRef("b")},
        ),
    )
    assert spec.secret_names == {"b"}


@pytest.mark.parametrize(
    ("written", "before"),
    [
        ('"./orders migrate"', Before(run=Command(shell="./orders migrate"))),
        ('["./orders", "migrate"]', Before(run=Command(argv=("./orders", "migrate")))),
        ('"migrate"', Before(run=Command(shell="./m"), job="migrate", timeout_s=60.0, env={"A": Plain("1")})),
        (
            '{ job = "migrate", timeout = "2m", backward_compatible = true }',
            Before(
                run=Command(shell="./m"),
                job="migrate",
                timeout_s=120.0,
                env={"A": Plain("1")},
                backward_compatible=True,
            ),
        ),
        ('{ run = "x", backward_compatible = true }', Before(run=Command(shell="x"), backward_compatible=True)),
        ('"true"', Before(run=Command(shell="true"))),
    ],
)
def test_what_runs_before_a_release_is_a_command_or_a_job(tmp_path: Path, written: str, before: Before) -> None:
    job = 'jobs.migrate = { run = "./m", timeout = "1m", env = { A = 1 } }'
    assert read(tmp_path, f'run = "serve"\nrollout.before = {written}\n{job}\n').rollout.before == before


def test_a_service_may_be_its_jobs(tmp_path: Path) -> None:
    spec = read(tmp_path, '[jobs.sweep]\nrun = "./sweep"\nschedule = "0 3 * * *"\n')
    assert (spec.run, spec.ports, spec.replicas, spec.health.ready.kind) == (None, (), 0, "process")


WRONG = [
    ('jobs.a = { run = "x", schedule = "@daily" }', 'jobs.a.schedule must be a cron expression, not "@daily" | write "0 0 * * *"'),
    ('jobs.a = { run = "x", schedule = "61 * * * *" }', 'jobs.a.schedule has a wrong minute in "61 * * * *" | minute is 0 to 59'),
    ('jobs.a = { run = "x", time_zone = "Europe/Berln" }', 'jobs.a.time_zone is no time zone: "Europe/Berln" | did you mean "Europe/Berlin"?'),
    ('jobs.a = { schedule = "0 3 * * *" }', 'jobs.a.run is missing | such as run = "./orders report"'),
    ('jobs.a = { run = "x", cron = "0 3 * * *" }', "jobs.a.cron is not a field of [jobs.NAME] | it is called `schedule`"),
    ('jobs.a = { run = "x", overlap = "forbid" }', 'jobs.a.overlap must be one of "skip", "queue", "replace", "allow", not "forbid" | '),
    ('jobs.a = { run = "x", timeout = 10 }', 'jobs.a.timeout must be a duration, not the number 10 | write "10s", with a unit'),
    ('jobs.before = "x"', 'jobs.before has a name that must be a name of at most 24 lower-case letters, digits and hyphens, a letter first, and not "before", not "before" | '),
    ('jobs.a = "x {port}"', "jobs.a.run has the placeholder {port}, but a job has no port | it reaches its service as any caller does: declare it in `calls`"),
    ('jobs.a = "x {prt}"', "jobs.a.run has an unknown placeholder {prt} | known: data, release, service; as a text it is written {{prt}}"),
    ('rollout.before = "migrat"\njobs.migrate = "x"', 'rollout.before is neither a job nor a command: "migrat" | did you mean "migrate"?'),
    ('rollout.before = { job = "migrat" }\njobs.migrate = "x"', "rollout.before.job names no job of the service: 'migrat' | did you mean \"migrate\"?"),
    ("rollout.before = { timeout = '1m' }", 'rollout.before does not say what to run | run = "./orders migrate", or job = "migrate"'),
    ('rollout.befor = "x"', "rollout.befor is not a field of [rollout] | did you mean 'before'?"),
    ('cron = "0 3 * * *"', "cron is not a field of service.toml | a job with a schedule: jobs.nightly = { run = \"...\", schedule = \"0 3 * * *\" }"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "what"), WRONG, ids=[text[:50] for text, _ in WRONG])
def test_what_is_said_of_wrong_ones(tmp_path: Path, text: str, what: str) -> None:
    assert said(tmp_path, f'run = "serve"\n{text}\n') == [f"2: {what}"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('port = "http"', "port is given, but nothing runs that could listen: the service has no `run`"),
        ("replicas = 2", "replicas is given, but the service has no `run`"),
        ('route = "/x"', "route[0] leads to a service without a port"),
    ],
)
def test_what_needs_something_that_runs_is_told_of_a_service_without(tmp_path: Path, text: str, what: str) -> None:
    found = said(tmp_path, f'{text}\njobs.a = "x"\n')
    assert any(what in each for each in found), found
