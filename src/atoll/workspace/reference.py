"""Writes `docs/reference.md` from the rows that parse the files and the defaults of `model.spec`.

`python -m atoll.workspace.reference docs/reference.md` writes the page; a test fails when the page lags.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from atoll.model.spec import EdgePolicy
from atoll.workspace.fields_build import BUILD_TABLE
from atoll.workspace.fields_cache import CACHE_TABLE
from atoll.workspace.fields_delivery import FREEZE_TABLE, NOTIFY_TABLE
from atoll.workspace.fields_dev import DEV_TABLE
from atoll.workspace.fields_edges import CALL_TABLE, POLICY_FIELDS, PORT_TABLE, ROUTE_TABLE
from atoll.workspace.fields_failures import FAILURES
from atoll.workspace.fields_health import HEALTH_TABLE, PROBE_TABLE
from atoll.workspace.fields_image import IMAGE_TABLE
from atoll.workspace.fields_jobs import BEFORE_TABLE, JOB_TABLE
from atoll.workspace.fields_rollout import ANALYSIS_TABLE, CHECK_TABLE, ROLLOUT_TABLE, STEP_TABLE
from atoll.workspace.fields_service import FILE_TABLE, LIMITS, SERVICE, STOP_TABLE
from atoll.workspace.fields_stores import CONSUMED_TABLE, SHARED_STORE_TABLE, STORE_TABLE
from atoll.workspace.fields_tasks import TASK_TABLE
from atoll.workspace.fields_tls import ACME_TABLE, CERTIFICATE_TABLE, TLS_TABLE
from atoll.workspace.fields_workspace import ENVIRONMENT, GATEWAY_TABLE, ROOT_TABLE, WORKSPACE
from atoll.workspace.tables import Field, Table

_HEAD = """\
# Reference: atoll.toml and service.toml

Written by `python -m atoll.workspace.reference docs/reference.md` from the rows that parse the files; edit those.

Both files are [TOML](https://toml.io). `atoll.toml` marks the top of a workspace and may be empty. Each service has a
`service.toml` in its folder. Every field is optional unless its default is **required**. An unknown field is an error.
`atoll check` tells all mistakes of all files at once.

A smallest service:

```toml
run = "node server.js"     # gets PORT
health = "/healthz"
route = "/orders"
```

An editor that reads TOML through [Taplo](https://taplo.tamasfe.dev) (VS Code's Even Better TOML, Zed, Helix) completes
and checks while you type: `atoll schema > service.schema.json` at the top of the workspace, and in the first line of a
`service.toml` one folder below `#:schema ../service.schema.json`. `atoll schema workspace` is for `atoll.toml`. Both are also in
[schema/service.schema.json](schema/service.schema.json) and [schema/atoll.schema.json](schema/atoll.schema.json).

## Values

| Kind | How it is written |
|---|---|
| duration | a number and its unit: `"500ms"`, `"2s"`, `"1m30s"`, `"10m"`, `"1h"`. A plain number is refused. |
| size | a number and its unit: `"256MiB"`, `"1.5GiB"` (powers of 1024), `"500MB"` (powers of 1000). |
| percentage | `"20%"` |
| command | a line for `/bin/sh -c`: `"node server.js"`, or a list that is run as it is: `["node", "server.js"]` |
| name | lower-case letters, digits and hyphens, a letter first |
| glob | as in `.gitignore`, relative to the service's folder: `"src/**"` |

## Templates

In `run`, in `env`, in `files`, in a probe's command and (but for ports) in jobs:

| Template | Value |
|---|---|
| `{port}`, `{port.NAME}` | the number of the first port, or of the one of that name |
| `{host}` | where to listen: `127.0.0.1`, and in a container, which is alone with its addresses, `0.0.0.0` |
| `{address}`, `{url}` | where the replica's first port is reached: `host:port`, `http://host:port` |
| `{calls.NAME.host}`, `.port`, `.address`, `.url` | where the callee of `calls.NAME` is reached |
| `{data}` | the service's own folder, absolute; it outlives releases and replicas |
| `{files}` | the replica's folder of rendered [files](#servicetoml), absolute; it ends with the replica |
| `{service}`, `{release}` | the service's name, and its release such as `r7` |

In `files` only:

| Template | Value |
|---|---|
| `{env.NAME}` | the variable `NAME`, as `env`, `ports`, `calls` and `inherit` give it; a secret, too |
| `{secret.NAME}` | the secret of that name |

In the `env` of a call `{host}`, `{port}`, `{address}` and `{url}` are where the callee is reached. An unknown
lower-case name in braces is an error; as a text it is written `{{name}}`. Other braces are text, such as JSON or the
shell's `${HOME}`.
"""

# Each: heading, how it is written, and the rows.
_SECTIONS: tuple[tuple[str, str, Table], ...] = (
    ("## service.toml", "", SERVICE),
    ("### Build", "`[build]`; in short, a command or a list of commands.", BUILD_TABLE),
    (
        "### Image",
        (
            "`[image]`; in short, an image by its digest. What comes of it in an environment of containers:"
            " [images](howto/images.md)."
        ),
        IMAGE_TABLE,
    ),
    (
        "### Tasks",
        (
            '`[tasks.NAME]`; in short, a command or a list of commands: `tasks.test = "go test ./..."`. What a task is and'
            " when it runs: [pipelines](howto/pipelines.md)."
        ),
        TASK_TABLE,
    ),
    (
        "### Dev",
        '`[dev]`; in short, its command: `dev = "npm run dev"`. What `atoll dev` does: [edit and see](howto/dev.md).',
        DEV_TABLE,
    ),
    (
        "### Ports",
        (
            '`[ports.NAME]`; in short, what is spoken there: `ports.admin = "http"`. The first gets the requests'
            " of those that name none."
        ),
        PORT_TABLE,
    ),
    ("### Health", '`[health]`; in short, a probe for `ready`: `health = "/healthz"`.', HEALTH_TABLE),
    (
        "### Probes",
        (
            'What `ready` and `live` of `[health]` take; in short, a path, `"tcp"`, `"grpc"` or `"process"`. A table'
            " has exactly one of the first five."
        ),
        PROBE_TABLE,
    ),
    ("### Stop", '`[stop]`; in short, the signal: `stop = "SIGINT"`.', STOP_TABLE),
    (
        "### Calls",
        (
            "`[calls.NAME]`, NAME being the callee; in short, the variable that gets its address:"
            ' `calls.catalog = "CATALOG_URL"`. Requests go through the proxy, so that these rules hold.'
        ),
        CALL_TABLE,
    ),
    ("### Routes", "`[route]` or `[[route]]`; in short, a path or a list of them. The longest path wins.", ROUTE_TABLE),
    (
        "### Policy",
        "Fields that a call and a route share: what protects one side from the other.",
        Table("a policy", POLICY_FIELDS, EdgePolicy, spec=EdgePolicy),
    ),
    (
        "### Failures",
        (
            "`[failures]`: which answers say that the service failed, and not that somebody asked it wrongly. A connection "
            "that broke, an answer that was cut off, a breaker and a time-out always do. See [signals](howto/signals.md)."
        ),
        FAILURES,
    ),
    (
        "### Stores",
        (
            "`[stores.NAME]`; in short, the variable that gets the URL of the store of that name in atoll.toml:"
            ' `stores.broker = "BROKER_URL"`. Services reach stores directly, not through the proxy.'
        ),
        STORE_TABLE,
    ),
    (
        "### Topics",
        (
            "What `publishes` and `consumes` take: names, or tables with these fields. `atoll check` tells of a topic that"
            " nobody publishes. `external` is for `consumes` only."
        ),
        CONSUMED_TABLE,
    ),
    ("### Files", "`[files]`, by their path below `{files}`; in short, the text itself.", FILE_TABLE),
    ("### Limits", "`[limits]`, for each replica and each run of a job.", LIMITS),
    (
        "### Jobs",
        '`[jobs.NAME]`; in short, a command: `jobs.reindex = "./orders reindex"`. See [Jobs](howto/jobs.md).',
        JOB_TABLE,
    ),
    ("### Rollout", '`[rollout]`; in short, the strategy: `rollout = "canary"`.', ROLLOUT_TABLE),
    ("### Before", "`[rollout.before]`; in short, a command or the name of a job.", BEFORE_TABLE),
    ("### Steps", "What `steps` of `[rollout]` takes; in short, a percentage.", STEP_TABLE),
    (
        "### Checks",
        "`[rollout.checks.NAME]`: what is asked besides the proxy's counts while a candidate is judged.",
        CHECK_TABLE,
    ),
    (
        "### Analysis",
        "`[rollout.analysis]`. How a verdict is reached is told in [delivery](howto/delivery.md).",
        ANALYSIS_TABLE,
    ),
    ("## atoll.toml", "", WORKSPACE),
    (
        "### Roots",
        "An entry of `roots`; in short, the path. `.gitignore`, commit and `build.context` are those of that repository.",
        ROOT_TABLE,
    ),
    (
        "### Shared stores",
        'In atoll.toml `[stores.NAME]`; in short, the URL: `stores.broker = "amqp://broker:5672"`.',
        SHARED_STORE_TABLE,
    ),
    ("### Environments", "`[environments.NAME]`, chosen with `--env NAME`.", ENVIRONMENT),
    (
        "### Cache",
        '`[cache]`; in short, the remote: `cache = "s3://acme-builds/shop"`. See [pipelines](howto/pipelines.md).',
        CACHE_TABLE,
    ),
    ("### Freezes", "What `freeze` takes, or a list of them.", FREEZE_TABLE),
    (
        "### Notifications",
        "What `notify` takes, or a list of them. See [delivery](howto/delivery.md#who-is-told).",
        NOTIFY_TABLE,
    ),
    ("### Gateway", '`[gateway]`; in short, `gateway = "127.0.0.1:8080"`.', GATEWAY_TABLE),
    ("### TLS", "What `tls` of a gateway takes. See [TLS](howto/tls.md).", TLS_TABLE),
    ("### Certificate files", "What `certificates` of `tls` takes, or a list of them.", CERTIFICATE_TABLE),
    ("### ACME", "What `acme` of `tls` takes.", ACME_TABLE),
)


def page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for heading, how, table in _SECTIONS:
        parts.append("\n".join([heading, "", *([how, ""] if how else []), *_rows(table)]) + "\n")
    return "\n".join(parts)


def tables() -> Iterator[Table]:
    """Every table that the page shows."""
    return (table for _, _, table in _SECTIONS)


def _rows(table: Table) -> Iterator[str]:
    yield "| Field | Value | Default | Meaning |"
    yield "|---|---|---|---|"
    shared = table in {CALL_TABLE, ROUTE_TABLE}
    for field in table.fields:
        if shared and field in POLICY_FIELDS:
            continue
        examples = "<br>".join(f"`{field.key} = {_cell(example)}`" for example in field.examples)
        meaning = _cell(field.meaning) + (f"<br>{examples}" if examples else "")
        yield f"| `{field.key}` | {_cell(field.kind.says)} | {_cell(_default(table, field))} | {meaning} |"
    if shared:
        yield "| | | | and the fields of [Policy](#policy) |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(table: Table, field: Field) -> str:
    """The default of the specification, written as in a file."""
    if field.required:
        return "**required**"
    if field.default:
        return field.default
    value = spec_default(table.spec, field.attribute)
    if isinstance(value, msgspec.Struct):
        return "as below"
    if value in ((), {}, "", None):
        return "none"
    return f"`{field.kind.show(value)}`"


def spec_default(spec: type[msgspec.Struct], attribute: str) -> Any:
    """The default of an attribute of the specification. Raises KeyError for an unknown one."""
    field = {field.name: field for field in msgspec.structs.fields(spec)}[attribute]
    made = field.default_factory
    return made() if field.default is msgspec.NODEFAULT and callable(made) else field.default


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
