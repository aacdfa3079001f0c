"""The fields of `[jobs]` and `[rollout.before]`, with their short forms. See `fields_service`."""

import re
from typing import Any

from msgspec.structs import replace

from atoll.model.spec import Before, Command, Job, RolloutSpec
from atoll.model.suggest import nearest
from atoll.workspace.fields_values import COMMAND, ENV_VALUES, SOME_TEXT
from atoll.workspace.kinds import Choice, Duration, Either, Flag, Integer, ListOf, MapOf, Mapped, Mistake, Text, wrong
from atoll.workspace.tables import Field, Table

UNNAMED = "?"  # a job's name until its table's key is known
RESERVED = "before"
JOB_NAME = Text(
    "job's name",
    pattern=rf"(?!{RESERVED}$)[a-z]([a-z0-9-]{{0,22}}[a-z0-9])?",
    must=f'be a name of at most 24 lower-case letters, digits and hyphens, a letter first, and not "{RESERVED}"',
    mend=lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"),
)


def _cron(text: str) -> str:
    """Checked here, where a person is told; the library is loaded only for files with schedules."""
    from atoll.decide.schedule import mistake

    if found := mistake(text):
        raise wrong(*found)
    return " ".join(text.split())


def _zone(text: str) -> str:
    from atoll.decide.schedule import zone_mistake

    if found := zone_mistake(text):
        raise wrong(*found)
    return text


JOB_TABLE = Table(
    "[jobs.NAME]",
    (
        Field("run", COMMAND, "What it runs; it must end by itself. No port.", ('"./orders report"',), required=True),
        Field(
            "schedule",
            Mapped(SOME_TEXT, _cron, says="cron expression"),
            "When it runs by itself: minute, hour, day of month, month, day of week, as Debian's cron reads them. A sixth "
            "field in front is seconds.",
            ('"0 3 * * *"', '"*/10 8-18 * * MON-FRI"'),
            default="only by hand: `atoll run`",
        ),
        Field(
            "time_zone",
            Mapped(Text(), _zone, says="time zone"),
            "The zone of `schedule`. A time that summer time skips runs right after, one that it repeats runs once.",
            ('"Europe/Berlin"',),
        ),
        Field(
            "timeout",
            Duration(1, 604_800),
            "An attempt that takes longer is stopped and has failed.",
            ('"10m"',),
            into="timeout_s",
        ),
        Field(
            "overlap",
            Choice("skip", "queue", "replace", "allow"),
            "When it is due, or run by hand, while it runs: leave that out, wait for its end (one waits at most), stop the "
            "one that runs, or run both.",
            ('"queue"',),
        ),
        Field(
            "retries",
            Integer(0, 20),
            "How often a failed run is tried again: after 10 s, 20 s, 40 s, at most 6 min.",
            ("2",),
        ),
        Field(
            "starting_deadline",
            Duration(0, 604_800),
            "How late an occurrence may still start that passed while the daemon or the machine was down. Of several the "
            "newest runs, once; what is later was missed, and is told.",
            ('"15m"',),
            into="starting_deadline_s",
        ),
        Field("env", ENV_VALUES, "Variables on top of the service's.", ('{ LOG_LEVEL = "debug" }',)),
    ),
    lambda **given: Job(name=UNNAMED, **given),
    spec=Job,
    hints={
        "command": "it is called `run`",
        "cmd": "it is called `run`",
        "cron": "it is called `schedule`",
        "every": 'it is called `schedule`, such as "*/10 * * * *"',
        "timezone": "it is called `time_zone`",
        "tz": "it is called `time_zone`",
        "concurrency": "it is called `overlap`",
        "concurrency_policy": "it is called `overlap`",
        "prohibit_overlap": 'it is `overlap = "skip"`',
        "backoff_limit": "it is called `retries`",
        "deadline": "for a late start it is `starting_deadline`, for a long run `timeout`",
        "persistent": "it is called `starting_deadline`",
    },
)
JOB = Either(
    text=Mapped(COMMAND, lambda command: Job(name=UNNAMED, run=command), says="command"),
    items=Mapped(ListOf(SOME_TEXT, least=1), lambda argv: Job(name=UNNAMED, run=Command(argv=argv)), says=""),
    table=JOB_TABLE,
    fix='such as "./orders reindex", or { run = "./orders report", schedule = "0 3 * * *" }',
)
JOBS = MapOf(
    JOB_NAME,
    JOB,
    says="table of jobs",
    make=lambda name, job: replace(job, name=name),
    why='name each job: [jobs] above lines such as reindex = "./orders reindex"',
)


class Ahead:
    """What `before` says, until the service's jobs are known (`settled`)."""

    def __init__(self, **given: Any) -> None:
        self.given = given


def _ahead(**given: Any) -> Ahead:
    if ("run" in given) == ("job" in given):
        what = "says both run and job" if "run" in given else "does not say what to run"
        raise wrong(what, 'run = "./orders migrate", or job = "migrate"')
    return Ahead(**given)


BEFORE_TABLE = Table(
    "rollout.before",
    (
        Field("run", COMMAND, "What runs.", ('"./orders migrate"',), default="what `job` runs"),
        Field("job", JOB_NAME, "A job of the service, instead of `run`.", ('"migrate"',), default="none"),
        Field(
            "timeout",
            Duration(1, 86_400),
            "Longer, and the release has failed.",
            ('"10m"',),
            into="timeout_s",
        ),
        Field(
            "backward_compatible",
            Flag(),
            "Whether earlier releases work with what it leaves. Else `atoll rollback` over it wants `--force`.",
            ("true",),
        ),
    ),
    _ahead,
    spec=Before,
    hints={"command": "it is called `run`", "compatible": "it is called `backward_compatible`"},
)
BEFORE = Either(
    text=Mapped(SOME_TEXT, lambda text: Ahead(text=text), says="command or job"),
    items=Mapped(ListOf(SOME_TEXT, least=1), lambda argv: Ahead(run=Command(argv=argv)), says="command"),
    table=BEFORE_TABLE,
    fix='such as "./orders migrate", or the name of a job',
)


def settled(rollout: RolloutSpec, jobs: dict[str, Job]) -> tuple[RolloutSpec, list[Mistake]]:
    """`[rollout]` once the jobs are known: a name in `before` is a job's, anything else a command."""
    ahead: Any = rollout.before
    if not isinstance(ahead, Ahead):
        return rollout, []
    rollout, given = replace(rollout, before=None), dict(ahead.given)
    text, name = given.pop("text", None), given.pop("job", None)
    path: tuple[str, ...] = ("rollout", "before") if text is not None else ("rollout", "before", "job")
    if text is not None and text in jobs:
        name = text
    elif text is not None:
        near = nearest(text, jobs) if re.fullmatch(r"[\w-]+", text) else None
        if near:
            return rollout, [Mistake(f'is neither a job nor a command: "{text}"', f'did you mean "{near}"?', path)]
        given["run"] = Command(shell=text)
    if name is not None:
        if name not in jobs:
            near = nearest(name, jobs)
            fix = f'did you mean "{near}"?' if near else "name one of [jobs], or say `run`"
            return rollout, [Mistake(f"names no job of the service: '{name}'", fix, path)]
        given = {"timeout_s": jobs[name].timeout_s, **given, "run": jobs[name].run, "env": jobs[name].env, "job": name}
    return replace(rollout, before=Before(**given)), []
