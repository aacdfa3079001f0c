"""The fields of `[dev]`, with its short form. See `fields_service`."""

from atoll.model.environment import Dev
from atoll.workspace.fields_values import COMMAND
from atoll.workspace.kinds import Either, Mapped
from atoll.workspace.tables import Field, Table

DEV_TABLE = Table(
    "[dev]",
    (
        Field(
            "run",
            COMMAND,
            "Runs instead of `run`, in the service's own folder. Nothing is built: what it needs lies there, as when you run"
            " it by hand.",
            ('"npm run dev -- --port {port}"', '"uv run uvicorn app:app --reload --port {port}"'),
            required=True,
        ),
        Field(
            "reload",
            COMMAND,
            "Runs after each edit, for each replica, in its surroundings; `PID` is its process. Without it, the program sees"
            " its files change by itself.",
            ('"kill -HUP $PID"', '"curl -fsS -X POST localhost:$PORT/-/reload"'),
            default="none",
        ),
    ),
    Dev,
    spec=Dev,
    hints={
        "command": "it is called `run`",
        "sync": "nothing needs to be copied: `run` works in the service's own folder",
    },
)
DEV = Either(
    text=Mapped(COMMAND, lambda command: Dev(run=command), says="command"),
    items=Mapped(COMMAND, lambda command: Dev(run=command), says="command"),
    table=DEV_TABLE,
    fix='such as "npm run dev -- --port {port}", or { run = "...", reload = "kill -HUP $PID" }',
)
