"""The fields of `[build]`. See `fields_service`."""

import re

from atoll.model.spec import Build
from atoll.workspace.fields_tasks import INHERIT, NEEDS, PASS
from atoll.workspace.fields_values import COMMAND, GLOB, VARIABLE, Scalar
from atoll.workspace.kinds import Duration, Either, Flag, ListOf, MapOf, Mapped, Text
from atoll.workspace.tables import Field, Table

BUILD_TABLE = Table(
    "[build]",
    (
        Field(
            "steps",
            Either(
                text=Mapped(COMMAND, lambda step: (step,)), items=ListOf(COMMAND), says="command, or list of commands"
            ),
            "What makes the artifact, in order, in a clean copy of the inputs.",
            ('"make"', '["npm ci", ["npm", "run", "build"]]'),
            default="what the builder does",
        ),
        Field(
            "builder",
            Text("name", pattern=r"[a-z][a-z0-9-]*", must="be a builder's name"),
            "Which builder (`python`, `node`, `go`, `rust`, `java`, `maven`, `gradle`, `command`); without it the files tell.",
            ('"python"',),
            default="detected",
        ),
        Field(
            "context",
            Text("folder", pattern=r"(?!/).+", must="be a folder relative to the service's"),
            "The folder whose files go in, where it is not the service's own: code shared in a monorepo. The artifact "
            "then looks like it, and `workdir` says where in it `run` starts.",
            ('"../.."',),
        ),
        Field(
            "tool",
            Text(
                "a language and a version",
                pattern=r"[a-z]+@[0-9]+(\.[0-9]+){0,3}",
                must='be a language and the beginning of a version, such as "go@1.24"',
                mend=lambda text: re.sub(r"[\s=:-]+v?", "@", text.strip().lower(), count=1),
            ),
            "Which of the machine's toolchains: `go`, `java`, `node`, `python` or `rust`, and how its version begins."
            " The newest that fits is taken, on the `PATH` or not; `atoll doctor` lists them.",
            ('"go@1.24"', '"java@17"'),
            default="what the project's own files say (`.nvmrc`, `.python-version`, `go.mod` ...), else the one on the `PATH`",
        ),
        Field(
            "provide",
            Flag(),
            "Whether a `go` or `node` that is missing is fetched from the Python package index, once for the workspace "
            "(`atoll toolchain`). No registry has the others.",
            ("true",),
        ),
        Field(
            "inputs",
            ListOf(GLOB, least=1),
            "What goes in, as globs below `context`; `.gitignore` is respected.",
            ('["src/**", "package*.json"]',),
        ),
        Field(
            "shared",
            ListOf(GLOB, least=1),
            "What goes in of a `context` above besides what the workspace (Go, npm, pnpm, uv, Cargo, Maven) says that the "
            'service reaches, as globs below `context`. With `["**"]` all of it does.',
            ('["proto/**"]',),
        ),
        Field("outputs", ListOf(GLOB, least=1), "What of the result is kept.", ('["dist/**"]',)),
        Field("env", MapOf(VARIABLE, Scalar()), "Variables of the build only.", ('{ NODE_ENV = "production" }',)),
        NEEDS,
        INHERIT,
        PASS,
        Field("timeout", Duration(1, 86_400), "A build that takes longer has failed.", ('"30m"',), into="timeout_s"),
    ),
    Build,
    spec=Build,
    hints={"command": "it is called `steps`", "run": "it is called `steps`"},
)


BUILD = Either(
    text=Mapped(COMMAND, lambda step: Build(steps=(step,)), says="command"),
    items=Mapped(ListOf(COMMAND, least=1), lambda steps: Build(steps=steps), says="list of commands"),
    table=BUILD_TABLE,
    fix='such as "make", or ["npm ci", "npm run build"]',
)
