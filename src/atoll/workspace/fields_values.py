"""Kinds that many fields share: names, commands, environment values. See `fields_service`."""

import re
from typing import Any

from atoll.model.spec import Command, EnvValue, Plain, SecretRef
from atoll.workspace.kinds import HUGE, Choice, Either, ListOf, MapOf, Mapped, Mistake, Text, Wrong, seen, wrong

SERVICE_NAME = Text(
    "name",
    pattern=r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?",
    must="be a name of at most 40 lower-case letters, digits and hyphens, a letter first",
    mend=lambda text: re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-"),
)
PORT_NAME = Text("port's name", pattern=r"[a-z][a-z0-9_-]{0,31}", must="be a port's name in lower case")
VARIABLE = Text(
    "variable's name",
    pattern=r"[A-Za-z_][A-Za-z0-9_]*",
    must="be a variable's name: letters, digits and underscores, no digit first",
    mend=lambda text: re.sub(r"[^A-Za-z0-9]+", "_", text),
)
ENVIRONMENT_NAME = Text(
    "environment's name",
    pattern=r"[a-z][a-z0-9-]{0,31}",
    must="be an environment's name of at most 32 lower-case letters, digits and hyphens",
)
SOME_TEXT = Text("text", pattern=r"[\s\S]*\S[\s\S]*", must="not be empty: it must be a text")
INSIDE = r"(?!/)(?!(?:.*/)?\.\.(?:/|$)).+"
FOLDER = Text("folder", pattern=INSIDE, must="be a folder below, without '..'")
GLOB = Text("glob", pattern=INSIDE, must="be a glob below the service's folder, without '..'")
PROTOCOL = Choice("http", "grpc", "tcp")
SIGNAL = Choice("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH")

COMMAND = Either(
    text=Mapped(SOME_TEXT, lambda line: Command(shell=line)),
    items=Mapped(ListOf(SOME_TEXT, least=1), lambda argv: Command(argv=argv)),
    says="command",
    fix='a line for the shell: "node server.js", or a list: ["node", "server.js"]',
)


class Scalar:
    """An environment value written as text, a number or a truth value; read as text."""

    says = "text, number, true or false"

    def read(self, value: object) -> str:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, float) or (isinstance(value, int) and abs(value) < HUGE):
            return str(value)
        if isinstance(value, str):
            return str(Text().read(value))
        raise wrong(f"must be a text, a number, true or false, not {seen(value)}")

    def show(self, value: str) -> str:
        return f'"{value}"'


class Secret:
    """`{ secret = "name" }`."""

    says = '`{ secret = "name" }`'
    name = Text(pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", must="be a secret's name")

    def read(self, value: object) -> SecretRef:
        if not isinstance(value, dict) or list(value) != ["secret"]:
            raise wrong("must be a value, or a secret by its name", 'such as { secret = "orders-db" }')
        try:
            return SecretRef(self.name.read(value["secret"]))
        except Wrong as exc:
            raise Wrong([mistake.below("secret") for mistake in exc.mistakes]) from None

    def show(self, value: SecretRef) -> str:
        return f'{{ secret = "{value.name}" }}'


ENV_VALUE = Either(
    text=Mapped(Scalar(), Plain),
    number=Mapped(Scalar(), Plain),
    flag=Mapped(Scalar(), Plain),
    table=Secret(),
    says='text, number, true, false or `{ secret = "name" }`',
    fix='such as "text", 8, true or { secret = "name" }',
)
ENV_VALUES = MapOf(VARIABLE, ENV_VALUE, says="table of values")


class ServiceEnv:
    """`[env]` of a service: variables, and a table of variables for each environment that differs."""

    says = "table of values; a table in it is for the environment of that name"

    def read(self, value: object) -> dict[str, EnvValue | dict[str, EnvValue]]:
        if not isinstance(value, dict):
            raise wrong(f"must be a table, not {seen(value)}", 'write [env] above lines such as LOG_LEVEL = "info"')
        good: dict[str, EnvValue | dict[str, EnvValue]] = {}
        mistakes: list[Mistake] = []
        for key, item in value.items():
            override = isinstance(item, dict) and not (list(item) == ["secret"] and isinstance(item["secret"], str))
            try:
                good.update({key: ENV_VALUES.read(item)} if override else ENV_VALUES.read({key: item}))
            except Wrong as exc:
                mistakes += [mistake.below(key) for mistake in exc.mistakes] if override else exc.mistakes
                if override:
                    good[key] = exc.partial
        if mistakes:
            raise Wrong(mistakes, good)
        return good

    def show(self, value: Any) -> str:
        return ENV_VALUES.show(value)
