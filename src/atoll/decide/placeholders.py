"""Whether every placeholder of a service has a value: in its commands, its variables and its rendered files.

Part of `decide.validate`. A template file's placeholders are told with their own file and line.
"""

import re
from collections.abc import Collection, Iterator

from msgspec.structs import replace

from atoll.decide.problem import beside, env_field, problem
from atoll.model.environment import Dev
from atoll.model.errors import Problem
from atoll.model.spec import Call, Command, Health, Plain, RenderedFile, RolloutSpec, ServiceSpec
from atoll.model.suggest import did_you_mean
from atoll.model.templates import (
    CALL_PLACEHOLDERS,
    PORT_PLACEHOLDERS,
    SECRET_PREFIX,
    SERVICE_PLACEHOLDERS,
    located,
    placeholders,
)

_IN_FILES = re.compile(r"\{files\}/([A-Za-z0-9._/-]*[A-Za-z0-9_-])")


def unknown(spec: ServiceSpec) -> Iterator[Problem]:
    """Placeholders without a value, and paths below `{files}` at which no file is."""
    known = _known(spec)
    own = {*PORT_PLACEHOLDERS, *(f"port.{port.name}" for port in spec.ports)}
    portless = [name for name in known if name not in own]
    for field, text in (*_texts(spec), *_of_jobs(spec)):
        in_job = field.startswith(("jobs.", "rollout."))
        for name in placeholders(text):
            if in_job and name in own and spec.ports:
                what = f"has the placeholder {{{name}}}, but a job has no port"
                fix = "it reaches its service as any caller does: declare it in `calls`"
                yield problem(spec, field, what, fix, id="unknown-placeholder")
            elif name.startswith(SECRET_PREFIX):
                what = f"has the placeholder {{{name}}}: a command line and plain variables are no place for secrets"
                fix = f'env.NAME = {{ secret = "{name.removeprefix(SECRET_PREFIX)}" }}, or a file of [files]'
                yield problem(spec, field, what, fix, id="unknown-placeholder")
            elif name not in (portless if in_job else known):
                yield _unknown(spec, field, name, portless if in_job else known)
        yield from _paths(spec, field, text)
    for call in spec.calls:
        for variable, text in call.env.items():
            for name in placeholders(text):
                if name not in CALL_PLACEHOLDERS:
                    yield _unknown(spec, f"calls.{call.callee}.env.{variable}", name, CALL_PLACEHOLDERS)
    yield from _files(spec, known)


def of_dev(spec: ServiceSpec, dev: Dev) -> Iterator[Problem]:
    """The same for the command of `[dev]`, in which all is known that `run` knows."""
    alone = replace(spec, run=dev.run, env={}, health=Health(), jobs=(), rollout=RolloutSpec(), files={})
    for found in unknown(alone):
        if found.field == "run":
            yield replace(found, field="dev.run", what=found.what.replace("run ", "dev.run ", 1))


def _known(spec: ServiceSpec) -> list[str]:
    return [
        *SERVICE_PLACEHOLDERS,
        *(PORT_PLACEHOLDERS if spec.ports else ()),
        *(f"port.{port.name}" for port in spec.ports),
        *(
            f"calls.{call.callee}.{part}"
            for call in spec.calls
            for part in PORT_PLACEHOLDERS
            if part != "url" or not _tcp(call)
        ),
        *(("files",) if spec.files else ()),
    ]


def _tcp(call: Call) -> bool:
    return call.protocol == "tcp" or (call.url or "").startswith("tcp:")


def _texts(spec: ServiceSpec) -> Iterator[tuple[str, str]]:
    yield from (("run", text) for text in _words(spec.run))
    yield from ((env_field(spec, name), value.value) for name, value in spec.env.items() if isinstance(value, Plain))
    for field, probe in (("health.ready", spec.health.ready), ("health.live", spec.health.live)):
        if probe.command is not None:
            yield from ((f"{field}.command", text) for text in _words(probe.command))


def _words(command: Command | None) -> tuple[str, ...]:
    return () if command is None else (*command.argv, command.shell or "")


def _of_jobs(spec: ServiceSpec) -> Iterator[tuple[str, str]]:
    yield from ((f"jobs.{job.name}.run", text) for job in spec.jobs for text in _words(job.run))
    for job in spec.jobs:
        yield from ((f"jobs.{job.name}.env.{n}", v.value) for n, v in job.env.items() if isinstance(v, Plain))
    before = spec.rollout.before
    if before is not None and not before.job:
        yield from (("rollout.before", text) for text in _words(before.run))


def _files(spec: ServiceSpec, known: Collection[str]) -> Iterator[Problem]:
    variables = {
        *spec.env,
        *spec.inherit,
        *(port.env for port in spec.ports if port.env),
        *(name for call in spec.calls for name in call.env),
    }
    inside = [*known, *(f"env.{name}" for name in sorted(variables))]
    for name, file in spec.files.items():
        field = _field(name)
        for line, found in located(file.text):
            if found not in inside and not found.startswith(SECRET_PREFIX):
                yield _of_file(spec, file, line, _unknown(spec, field, found, inside))
        for above in (other for other in spec.files if name.startswith(f"{other}/")):
            yield problem(
                spec, field, f"lies below {above}, which is a file itself", "rename one of them", id="fields-contradict"
            )


def _of_file(spec: ServiceSpec, file: RenderedFile, line: int, told: Problem) -> Problem:
    """The same problem, at its line of the template file when there is one."""
    if file.template is None:
        return told
    what = told.what.removeprefix(f"{told.field} ")
    return Problem(file=beside(spec, file.template), line=line, what=what, fix=told.fix, id=told.id)


def _field(name: str) -> str:
    return f"files.{name}" if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'files."{name}"'


def _paths(spec: ServiceSpec, field: str, text: str) -> Iterator[Problem]:
    """A slip in `{files}/app.yml` would be found by the program only."""
    if not spec.files:
        return
    for path in _IN_FILES.findall(text):
        if path not in spec.files and not any(name.startswith(f"{path}/") for name in spec.files):
            yield problem(
                spec,
                field,
                f"names no file of [files]: {{files}}/{path}",
                did_you_mean(path, spec.files),
                id="unknown-placeholder",
            )


def _unknown(spec: ServiceSpec, field: str, name: str, known: Collection[str]) -> Problem:
    if not spec.ports and known is not CALL_PLACEHOLDERS and name.partition(".")[0] in PORT_PLACEHOLDERS:
        return problem(
            spec, field, f"has the placeholder {{{name}}}, but the service has no port", id="unknown-placeholder"
        )
    if name == "files":
        return problem(
            spec, field, "has the placeholder {files}, but the service has no [files]", id="unknown-placeholder"
        )
    if name.startswith("env.") and not field.startswith("files"):
        return problem(
            spec,
            field,
            f"has the placeholder {{{name}}}, which is for [files]",
            f"a shell takes ${name[4:]}",
            id="unknown-placeholder",
        )
    fix = did_you_mean(name, known)
    text = f"as a text it is written {{{{{name}}}}}"
    return problem(
        spec,
        field,
        f"has an unknown placeholder {{{name}}}",
        f"{fix}; {text}" if fix else text,
        id="unknown-placeholder",
    )
