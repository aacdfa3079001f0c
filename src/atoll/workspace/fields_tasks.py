"""The fields of `[tasks]`, with their short forms. See `fields_service`."""

import re
from typing import Any

from msgspec.structs import replace

from atoll.model.task import BUILD, IMAGE, Task
from atoll.workspace.fields_values import COMMAND, GLOB, VARIABLE, Scalar
from atoll.workspace.kinds import Duration, Either, Flag, Integer, ListOf, MapOf, Mapped, Text
from atoll.workspace.tables import Field, Table

UNNAMED = "?"  # a task's name until its table's key is known
TASK_NAME = Text(
    "task's name",
    pattern=rf"(?!(?:{BUILD}|{IMAGE})$)[a-z]([a-z0-9-]{{0,22}}[a-z0-9])?",
    must=f'be a name of at most 24 lower-case letters, digits and hyphens, a letter first, and neither "{BUILD}" nor "{IMAGE}"',
    mend=lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"),
)
NEED = Text(
    "task",
    pattern=r"([a-z][a-z0-9-]{0,39}\.)?[a-z][a-z0-9-]{0,23}",
    must='be a task of this service ("build", "lint"), or of another one ("catalog.build")',
)
NEEDS = Field(
    "needs",
    ListOf(NEED),
    "Tasks that must pass first, of this service or of another one. Where the result of one lies is `{needs.NAME}` in the"
    " commands; what is not needed is not there.",
    ('["build"]', '["catalog.build"]'),
    default="none",
)
INHERIT = Field(
    "inherit",
    ListOf(VARIABLE),
    "Variables taken over from the caller's environment. Their values count: another value is another result.",
    ('["APP_VERSION"]',),
    default="none",
)
PASS = Field(
    "pass",
    ListOf(VARIABLE),
    "The same for variables whose values do not count: tokens, addresses of mirrors.",
    ('["NPM_TOKEN"]',),
    into="passed",
    default="none",
)
STEPS = Either(
    text=Mapped(COMMAND, lambda step: (step,)), items=ListOf(COMMAND, least=1), says="command, or list of commands"
)


def _task(**given: Any) -> Task:
    return Task(name=UNNAMED, **given)


TASK_TABLE = Table(
    "[tasks.NAME]",
    (
        Field(
            "run",
            STEPS,
            "What runs, in order, in a clean copy of the inputs; each must end with exit code 0.",
            ('"go test ./..."', '["npm ci", "npm test"]'),
            into="steps",
            required=True,
        ),
        NEEDS,
        Field("inputs", ListOf(GLOB, least=1), "What goes in, as globs below the build's `context`.", ('["src/**"]',)),
        Field("outputs", ListOf(GLOB, least=1), "What of the copy is kept for tasks that need it.", ('["gen/**"]',)),
        Field("env", MapOf(VARIABLE, Scalar()), "Variables of the task.", ('{ TZ = "UTC" }',)),
        INHERIT,
        PASS,
        Field(
            "timeout",
            Duration(1, 86_400),
            "An attempt that takes longer is stopped and has failed.",
            ('"5m"',),
            into="timeout_s",
        ),
        Field(
            "retries",
            Integer(0, 10),
            "Says that it is flaky: so often it is tried again, and when it then passes it is shown as flaky.",
            ("2",),
        ),
        Field(
            "cache",
            Flag(),
            "`false`: it runs each time, since what it asks lies outside: a live system, the date.",
            ("false",),
        ),
        Field(
            "in_place",
            Flag(),
            "Runs in the work tree itself, with whatever lies there (`node_modules`), instead of a clean copy.",
            ("true",),
        ),
    ),
    _task,
    spec=Task,
    hints={
        "steps": "it is called `run`",
        "command": "it is called `run`",
        "script": "it is called `run`",
        "depends_on": "it is called `needs`",
        "deps": "it is called `needs`",
        "pass_env": "it is called `pass`",
        "flaky": "how often it is tried again is `retries`",
    },
)
TASK = Either(
    text=Mapped(COMMAND, lambda step: Task(name=UNNAMED, steps=(step,)), says="command"),
    items=Mapped(ListOf(COMMAND, least=1), lambda steps: Task(name=UNNAMED, steps=steps), says="list of commands"),
    table=TASK_TABLE,
    fix='such as "go test ./...", or { run = "npm test", needs = ["build"] }',
)
TASKS = MapOf(
    TASK_NAME,
    TASK,
    says="table of tasks",
    make=lambda name, task: replace(task, name=name),
    why='name each task: [tasks] above lines such as test = "go test ./..."',
)
