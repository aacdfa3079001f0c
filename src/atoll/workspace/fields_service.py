"""Every field of `service.toml`, one row each: the rows parse the file and are its documentation.

Defaults are not here: they stand in `model.spec`, once. What depends on another field (the first port's `PORT`, the
usual way to be ready) is `assemble`'s; what depends on another service is `decide.validate`'s.
"""

from atoll.model.spec import Limits, RenderedFile, ServiceSpec, Stop
from atoll.workspace.fields_build import BUILD
from atoll.workspace.fields_dev import DEV
from atoll.workspace.fields_edges import CALLS, PORTS, ROUTES
from atoll.workspace.fields_failures import FAILURES
from atoll.workspace.fields_health import HEALTH
from atoll.workspace.fields_image import IMAGE
from atoll.workspace.fields_jobs import JOBS
from atoll.workspace.fields_rollout import ROLLOUT
from atoll.workspace.fields_stores import CONSUMES, PUBLISHES, STORES
from atoll.workspace.fields_tasks import TASKS
from atoll.workspace.fields_values import (
    COMMAND,
    FOLDER,
    INSIDE,
    SERVICE_NAME,
    SIGNAL,
    VARIABLE,
    ServiceEnv,
)
from atoll.workspace.kinds import (
    Choice,
    Duration,
    Either,
    Flag,
    Integer,
    ListOf,
    MapOf,
    Mapped,
    Number,
    Size,
    Text,
    wrong,
)
from atoll.workspace.tables import Field, Table

STOP_TABLE = Table(
    "[stop]",
    (
        Field("signal", SIGNAL, "The signal that asks a replica to end.", ('"SIGINT"',)),
        Field("grace", Duration(0, 3600), "From that signal to SIGKILL.", ('"30s"',), into="grace_s"),
        Field(
            "drain",
            Duration(0, 3600),
            "How long requests in flight may take before that signal is sent.",
            ('"1m"',),
            into="drain_s",
        ),
    ),
    Stop,
    spec=Stop,
    hints={"timeout": "from the signal to SIGKILL it is `grace`; for requests in flight it is `drain`"},
)
STOP = Either(text=Mapped(SIGNAL, lambda signal: Stop(signal=signal), says="signal"), table=STOP_TABLE)


def _writable(folder: str) -> str:
    """An absolute folder, written in one way. Below the artifact nothing can be given: it is shared and read-only."""
    if not folder.startswith("/"):
        name = folder.strip("./") or "tmp"
        what = "must be absolute: the artifact is read-only, and the same for all replicas and releases"
        raise wrong(what, f'let the program write to {{data}}/{name}, or name a folder such as "/var/lib/orders"')
    parts = [part for part in folder.split("/") if part]
    if ".." in parts or "." in parts:
        raise wrong("must be without '.' and '..'")
    return "/" + "/".join(parts)


def _cpus(number: float) -> float:
    """Docker takes no less than a hundredth."""
    if not 0.01 <= number <= 1024:
        raise wrong("must be from 0.01 to 1024", "0.5 is half of one CPU")
    return number


CPUS = Mapped(Number(), _cpus, shape={"minimum": 0.01, "maximum": 1024})
LIMITS = Table(
    "[limits]",
    (
        Field(
            "memory",
            Size(2**20),
            "Memory of one replica; above it the replica is ended and replaced.",
            ('"256MiB"',),
            into="memory_bytes",
            default="no limit",
        ),
        Field(
            "cpu_weight",
            Integer(1, 10_000),
            "Share of the CPU when it is short; 100 is normal.",
            ("50",),
            default="normal",
        ),
        Field(
            "open_files",
            Integer(16, 1_048_576),
            "Open files and connections of one replica.",
            ("4096",),
            default="the daemon's own",
        ),
        Field(
            "cpus",
            CPUS,
            "CPU time of one replica, also when nobody else wants it; 0.5 is half of one CPU. On containers only.",
            ("0.5", "2"),
            default="no limit",
        ),
        Field(
            "pids",
            Integer(1, 4_194_304),
            "Processes and threads of one replica at a time. On containers only.",
            ("64",),
            default="2048 on containers, else no limit",
        ),
    ),
    Limits,
    spec=Limits,
    hints={
        "cpu": "at most so many CPUs is `cpus`, a share when the CPU is short is `cpu_weight`",
        "mem": "it is called `memory`",
        "ram": "it is called `memory`",
    },
)

WRITABLE = Mapped(
    Text("absolute folder", pattern=r"[^\0]+", must="be a folder"),
    _writable,
    shape={"pattern": r"^/(?!(?:.*/)?\.\.?(?:/|$)).+$"},
)
FILE_NAME = Text("path", pattern=rf"{INSIDE}", must="be a path below {files}, without '..'")
FILE_TABLE = Table(
    "a file",
    (
        Field(
            "template",
            Text("path", pattern=INSIDE, must="be a path below the service's folder, without '..'"),
            "The file whose text it is, relative to the service's folder; read when the service is deployed, so that"
            " it is part of the release.",
            ('"config/app.yaml.tmpl"',),
            required=True,
        ),
    ),
    RenderedFile,
    spec=RenderedFile,
    hints={"from": "it is called `template`", "source": "it is called `template`", "path": "it is called `template`"},
)
FILES = MapOf(
    FILE_NAME,
    Either(
        text=Mapped(Text(), lambda text: RenderedFile(text=text), says="its text"),
        table=FILE_TABLE,
        fix='its text, or such as { template = "app.yaml.tmpl" }',
    ),
    says="table of files",
    why='such as [files] and below it "app.properties" = "server.port={port}"',
)

# A file with nothing else, and with tasks, is a library's: what services share, and nobody runs.
LIBRARY_FIELDS = frozenset({"name", "owner", "description", "build", "tasks"})

# --- the file -----------------------------------------------------------------------------------------------------

SERVICE = Table(
    "service.toml",
    (
        Field("name", SERVICE_NAME, "How everybody calls the service.", ('"orders"',), default="the folder's name"),
        Field(
            "run",
            COMMAND,
            "What runs one replica: a line for `/bin/sh -c`, or a list. See [Templates](#templates). A service with `jobs`"
            " may go without: nothing of it runs all the time then, and it has no port. A file with `tasks` and `build` only is a"
            " library's: code that services share, tested and perhaps built, and never run.",
            ('"node server.js"', '["./orders", "--listen", "127.0.0.1:{port}"]'),
            default="must be there, unless there are `jobs`, or `tasks` alone",
        ),
        Field("owner", Text(), "Who is asked about it.", ('"checkout"',)),
        Field("description", Text(), "What it is for.", ('"Takes orders."',)),
        Field("workdir", FOLDER, "Where `run` starts, relative to the artifact.", ('"server"',)),
        Field(
            "build",
            BUILD,
            "How the artifact is made.",
            ('"make"', '["npm ci", "npm run build"]', '{ steps = "make", outputs = ["bin/**"] }'),
            default="what the files tell",
        ),
        Field(
            "image",
            IMAGE,
            'What containers run, in an environment with `engine = "docker"`; elsewhere nothing comes of it.',
            (
                '{ dockerfile = "docker/Dockerfile" }',
                '"registry.example.com/mailer@sha256:570af9c759eaa1f8770c0d4fb91908ae9beef7423c6c78f158bf20ecef8a75e4"',
            ),
            default="by its `Dockerfile`, else by a generated one",
        ),
        Field(
            "port",
            Choice(
                *("http", "grpc", "tcp", "none"),
                number="Atoll chooses the number: listen on $PORT, or write {port} into `run`; a program that insists on"
                " one has ports.http = { number = 8080 }",
            ),
            "What the service's only port speaks; `none` for a worker. Several ports are `ports`.",
            ('"grpc"', '"none"'),
            default='`"http"`',
        ),
        Field(
            "ports",
            PORTS,
            "Several ports, each by its name. The number is chosen by Atoll and told by variable or template.",
            ('{ http = "http", admin = { protocol = "http", env = "ADMIN_PORT" } }',),
            default="the one that `port` says",
        ),
        Field(
            "health",
            HEALTH,
            "How to ask a replica whether it is ready, and alive.",
            ('"/healthz"', '"tcp"', '"grpc"', '{ ready = "/ready", stable_for = "5s" }'),
            default='`"tcp"` with a port, `"process"` without',
        ),
        Field("stop", STOP, "How a replica ends.", ('"SIGINT"', '{ grace = "30s" }')),
        Field(
            "calls",
            CALLS,
            "Whom the service calls, each by its name. Nothing is injected that is not declared here.",
            (
                '{ catalog = "CATALOG_URL" }',
                '{ payments = { env = { PAYMENTS_ADDR = "{address}" }, timeout = "2s", optional = true } }',
            ),
            default="nobody",
        ),
        Field(
            "route",
            ROUTES,
            "What the gateway sends here.",
            ('"/orders"', '["/orders", "/carts"]', '[{ path = "/", host = "shop.example.com" }]'),
            into="routes",
            default="nothing",
        ),
        Field(
            "failures",
            FAILURES,
            "Which answers of this service count as its failures, in rates, receipts and verdicts.",
            ('{ http = ["5xx", 429] }', '{ grpc = ["UNKNOWN", "INTERNAL"] }'),
            default="5xx, and the gRPC codes that say the same",
        ),
        Field(
            "stores",
            STORES,
            "The databases, caches and brokers that the service uses, each by its name, and the variables that tell where.",
            (
                '{ orders-db = { url = "postgres://db:5432/orders", env = "DATABASE_URL" } }',
                '{ orders-db = { url = { secret = "orders-db" }, env = { PGHOST = "{host}", PGPASSWORD = "{password}" } } }',
            ),
            default="none",
        ),
        Field(
            "publishes",
            PUBLISHES,
            "Topics or queues that it sends to, by name.",
            ('"orders.placed"', '["orders.placed", "orders.cancelled"]'),
            default="none",
        ),
        Field(
            "consumes",
            CONSUMES,
            "Topics or queues that it reads from.",
            ('[{ topic = "stock.changed", external = true }]',),
            default="none",
        ),
        Field("limits", LIMITS, "What one replica may use.", ('{ memory = "256MiB" }',)),
        Field("replicas", Integer(1, 100), "How many run.", ("2",)),
        Field(
            "overlap",
            Flag(),
            "`false`: two releases never run at once (schedulers, writers of one file). Requests wait during the switch.",
            ("false",),
        ),
        Field(
            "rollout",
            ROLLOUT,
            "How traffic moves to a new release, and what that one is judged by.",
            ('"canary"', '{ steps = ["10%", "50%"], bake = "1h" }'),
        ),
        Field(
            "jobs",
            JOBS,
            "Commands that end, each by its name: run by hand (`atoll run`) or by a schedule, with the release's artifact,"
            " variables, secrets and calls.",
            ('{ reindex = "./orders reindex" }', '{ nightly = { run = "./orders report", schedule = "0 3 * * *" } }'),
            default="none",
        ),
        Field(
            "tasks",
            TASKS,
            "What is done with the files besides the build, each by its name: tests, lints, generated code.",
            (
                '{ test = "go test ./..." }',
                '{ lint = "ruff check .", test = { run = "./test {needs.build}", needs = ["build"] } }',
            ),
            default="none",
        ),
        Field(
            "dev",
            DEV,
            "How `atoll dev` runs it in its own folder, instead of building it at each edit; for programs that reload by"
            " themselves.",
            ('"npm run dev -- --port {port}"', '{ run = "uv run gunicorn app:app", reload = "kill -HUP $PID" }'),
            default="it is built and switched",
        ),
        Field(
            "env",
            ServiceEnv(),
            "Variables. A table in it, named like an environment, holds what differs there. See [Templates](#templates).",
            ('{ LOG_LEVEL = "info", DB_URL = { secret = "orders-db" } }',),
        ),
        Field(
            "writable",
            ListOf(WRITABLE),
            "Folders besides `{data}` that are made, and given to the service's user, before a replica starts. All its"
            " replicas and releases share them, and they outlive them. A machine that serves gives none away that holds"
            " something of others.",
            ('["/var/lib/orders"]',),
            default="none",
        ),
        Field(
            "files",
            FILES,
            "Files that are written for each replica before it starts, by their path below `{files}`: a text, or a"
            " template. See [Templates](#templates).",
            (
                '{ "application.properties" = "server.port={port}" }',
                '{ "config/app.yaml" = { template = "config/app.yaml.tmpl" } }',
            ),
            default="none",
        ),
        Field("inherit", ListOf(VARIABLE), "Variables taken over from the daemon's own environment.", ('["HOME"]',)),
    ),
    dict,
    spec=ServiceSpec,
    hints={
        "command": "it is called `run`",
        "cmd": "it is called `run`",
        "start": "it is called `run`",
        "entrypoint": "it is called `run`",
        "exec": "it is called `run`",
        "environment": "it is called `env`",
        "vars": "it is called `env`",
        "variables": "it is called `env`",
        "depends_on": 'whom it calls is `calls`: calls.catalog = "CATALOG_URL"',
        "dependencies": 'whom it calls is `calls`: calls.catalog = "CATALOG_URL"',
        "healthcheck": "it is called `health`",
        "readiness": "it is `ready` in [health]",
        "liveness": "it is `live` in [health]",
        "routes": "it is called `route`",
        "path": "it is called `route`",
        "memory": "it belongs to [limits]",
        "cpu": "it is `cpu_weight` in [limits]",
        "scale": "how many run is `replicas`",
        "instances": "it is called `replicas`",
        "signal": "it belongs to [stop]",
        "cwd": "it is called `workdir`",
        "timeout": "a timeout belongs to a call, a route, a probe or the build",
        "cron": 'a job with a schedule: jobs.nightly = { run = "...", schedule = "0 3 * * *" }',
        "schedule": "it belongs to a job: [jobs.NAME]",
        "test": 'it is a task: tasks.test = "go test ./..."',
        "tests": 'they are tasks: tasks.test = "go test ./..."',
        "lint": 'it is a task: tasks.lint = "ruff check ."',
        "scripts": "they are called `tasks`",
        "before": "it belongs to [rollout]",
        "migrate": 'it is `before` in [rollout]: rollout.before = "./migrate"',
        "release": "what runs before a release is `before` in [rollout]",
        "store": "it is called `stores`",
        "databases": "it is called `stores`",
        "database": 'it belongs to `stores`: stores.orders-db = { url = "postgres://db:5432/orders", env = "DATABASE_URL" }',
        "topics": "they are called `publishes` and `consumes`",
        "produces": "it is called `publishes`",
        "subscribes": "it is called `consumes`",
        "dockerfile": "it belongs to [image]",
        "team": "it is called `owner`",
        "volumes": "folders that it writes to are `{data}`, and `writable`",
        "volume": "folders that it writes to are `{data}`, and `writable`",
        "tmpfs": "folders that it writes to are `{data}`, and `writable`",
        "keep_warm": 'it is `bake` in [rollout]: rollout.bake = "1h"',
        "strategy": "it belongs to [rollout]",
        "canary": 'rollout = "canary"',
        "deploy": "how traffic moves is `rollout`",
        "config": "a configuration file that is rendered for each replica is in [files]",
        "configs": "a configuration file that is rendered for each replica is in [files]",
        "templates": "a template that is rendered for each replica is in [files]",
    },
    shape={
        "not": {"required": ["port", "ports"]},
        "anyOf": [{"required": ["run"]}, {"required": ["jobs"]}, {"required": ["tasks"]}],
    },
)
