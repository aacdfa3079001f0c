"""The text of `service.toml` and `atoll.toml` from what was found: minimal, in short forms, comments where it is a guess."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from atoll.adopt.compose_edges import is_secret
from atoll.adopt.found import CallFound, Found, StoreFound, slug
from atoll.adopt.stores import StoreFound as StoreByUrl
from atoll.adopt.stores import stores_of, type_by_name

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_RUN_HERE = ("postgres", "redis", "nats")
_UNDECIDED = "# Read by its code, set by nobody: fill in what it needs, and take the marks away."
_USUAL_SERVICES = re.compile(r"\.|[^/.][^/]*|services/[^/]+")


def service_text(found: Found) -> str:
    """The whole `service.toml` of one service."""
    lines = [*_top(found), *_tables(found)]
    return "\n".join(lines) + "\n"


def workspace_text(name: str, folders: Sequence[str], stores: Mapping[str, StoreFound] | None = None) -> str:
    """The whole `atoll.toml`; `services` is said only where the usual folders would not find them all."""
    lines = [f"name = {_text(name)}"]
    if not all(_USUAL_SERVICES.fullmatch(folder) for folder in folders):
        lines.append(f"services = {_value(_globs(folders))}")
    if stores:
        lines += ["", "[stores]", *(_row(name, _store(store)) for name, store in stores.items())]
    return "\n".join(lines) + "\n"


def _globs(folders: Sequence[str]) -> list[str]:
    """Few patterns that find all these folders: siblings share one."""
    parents: dict[str, list[str]] = {}
    for folder in sorted(folders):
        parents.setdefault(folder.rpartition("/")[0], []).append(folder)
    globs: list[str] = []
    for parent, members in sorted(parents.items()):
        globs += [f"{parent}/*"] if parent and len(members) > 1 else [_escaped(member) for member in members]
    return globs


def _escaped(folder: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", folder)


def _top(found: Found) -> Iterable[str]:
    """The fields above the first table."""
    note = found.notes.get
    folder = found.folder.rpartition("/")[2]
    if found.name != folder:
        yield _row("name", found.name)
    yield _row("run", found.run, note("run", ""))
    if found.workdir != ".":
        yield _row("workdir", found.workdir, note("workdir", ""))
    if found.steps and not _build_table(found):
        yield _row("build", found.steps[0] if len(found.steps) == 1 else found.steps, note("build", ""))
    if found.protocol == "none":
        yield _row("port", "none", note("port", ""))
    elif not found.more_ports and not found.port_env and found.protocol != "http":
        yield _row("port", found.protocol, note("port", ""))
    elif note("port", ""):
        yield f"# port: {_one_line(note('port', ''))}"
    if found.health and not _health_table(found):
        yield _row("health", found.health, note("health", ""))
    yield from _route(found)
    if found.replicas != 1:
        yield _row("replicas", found.replicas)
    if not found.overlap:
        yield _row("overlap", False, note("overlap", ""))
    if found.inherit:
        yield _row("inherit", found.inherit, note("inherit", ""))


def _route(found: Found) -> Iterable[str]:
    if found.route:
        value: object = {"path": found.route, "strip": True} if found.strip else found.route
        yield _row("route", value, found.notes.get("route", ""))
    elif found.route_hint:
        hint = {"path": found.route_hint, "strip": True}
        yield f"# route = {_value(hint)}  # lets requests from outside in"


def _tables(found: Found) -> Iterable[str]:
    """The tables, each after a blank line."""
    if _build_table(found):
        steps = found.steps[0] if len(found.steps) == 1 else found.steps
        fields: dict[str, object] = {"context": found.context if found.context != "." else "", "inputs": found.inputs}
        fields |= {"builder": found.builder, "steps": steps, "outputs": found.outputs, "env": found.build_env}
        yield from (
            "",
            "[build]",
            *_rows({key: value for key, value in fields.items() if value}, found.notes, "build."),
        )
    if found.image:
        yield from ("", "[image]", *_rows(found.image, found.notes, "image."))
    if found.protocol != "none" and (found.more_ports or found.port_env):
        yield from ("", "[ports]")
        first: object = found.protocol
        if found.port_env:
            first = {**({"protocol": found.protocol} if found.protocol != "http" else {}), "env": found.port_env}
        yield _row(found.protocol, first, found.notes.get("ports", ""))
        for name, (protocol, variable) in found.more_ports.items():
            yield _row(name, {"protocol": protocol, "env": variable} if variable else protocol)
    if _health_table(found):
        ready = found.notes.get("health.ready") or found.notes.get("health", "")
        yield from ("", "[health]", *_rows(_health(found), {**found.notes, "health.ready": ready}, "health."))
    if found.stop:
        yield from ("", "[stop]", *_rows(found.stop, found.notes, "stop."))
    if found.limits:
        yield from ("", "[limits]", *_rows(found.limits, found.notes, "limits."))
    simple = {name: call for name, call in found.calls.items() if _short(call)}
    if simple:
        yield from ("", "[calls]")
        yield from (
            _row(name, next(iter(call.env)), found.notes.get(f"calls.{name}", "")) for name, call in simple.items()
        )
    for name, call in found.calls.items():
        if name not in simple:
            yield from _call(name, call, found.notes.get(f"calls.{name}", ""))
    if found.stores:
        rows = {name: _store(store) for name, store in found.stores.items()}
        yield from ("", "[stores]", *_rows(rows, found.notes, "stores."))
    stores = stores_of(found)
    for store in stores:
        yield from _by_url(store, found.notes.get(f"env.{store.variable}", ""))
    values = {**found.env, **{name: {"secret": secret} for name, secret in found.secrets.items()}}
    values = {name: value for name, value in values.items() if name not in {store.variable for store in stores}}
    if values:
        yield from ("", "[env]", *_rows(values, found.notes, "env."))
    yield from _undecided(found, env=bool(values))
    yield from _test(found)


def _undecided(found: Found, *, env: bool) -> Iterable[str]:
    """What the code reads and nothing sets, as comments that are valid without their marks; `env`: right below [env]."""
    if not found.reads:
        return
    plain = {name: read for name, read in found.reads.items() if not read.callee and type_by_name(name) is None}
    yield from ([_UNDECIDED] if env and plain else ["", _UNDECIDED])
    if plain and not env:
        yield "# [env]"
    for name, read in plain.items():
        value: object = {"secret": slug(name)} if is_secret(name, "") else ""
        yield f"# {_row(name, value, str(read.place).removesuffix(name).strip())}"
    for callee in dict.fromkeys(read.callee for read in found.reads.values() if read.callee):
        variables = {name: read.template for name, read in found.reads.items() if read.callee == callee}
        usual = list(variables.values()) in (["{url}"], ["{address}"])
        yield f"# [calls.{callee}]"
        yield f"# {_row('env', next(iter(variables)) if usual else variables)}"
    used: set[str] = set(found.stores)
    for variable in [name for name, read in found.reads.items() if not read.callee]:
        if (type := type_by_name(variable)) is not None:
            name = slug(f"{found.name}-{type or 'db'}", used)
            used.add(name)
            yield f"# [stores.{name}]"
            if type in _RUN_HERE:
                yield f"# {_row('type', type, 'which Atoll runs; one that runs elsewhere has a url, too')}"
            else:
                yield f"# {_row('url', {'secret': name})}"
            yield f"# {_row('env', variable)}"


def _test(found: Found) -> Iterable[str]:
    test = found.test[0] if len(found.test) == 1 else found.test
    if found.test_needs:
        yield from ("", "[tasks.test]", _row("run", test), _row("needs", found.test_needs))
    elif test:
        yield from ("", "[tasks]", _row("test", test))


def _by_url(store: StoreByUrl, note: str) -> Iterable[str]:
    yield from ("", f"[stores.{store.name}]")
    yield _row("url", {"secret": store.secret} if store.secret else store.url, note)
    if store.type:
        yield _row("type", store.type)
    yield _row("env", store.variable)


def _call(name: str, call: CallFound, note: str) -> Iterable[str]:
    yield from ("", f"[calls.{name}]{f'  # {_one_line(note)}' if note else ''}")
    if call.url:
        yield _row("url", call.url)
    usual = list(call.env.values()) == [call.usual]
    if call.port:
        yield _row("port", call.port)
    yield _row("env", next(iter(call.env)) if usual else call.env)
    if call.optional:
        yield _row("optional", True)


def _store(store: StoreFound) -> object:
    """In its shortest form."""
    env: object = next(iter(store.env)) if list(store.env.values()) == ["{url}"] else store.env
    if not (store.url or store.secret or store.type):
        return env if isinstance(env, str) else {"env": env}
    if store.url and not store.env and not store.shared:
        return store.url
    where = {"secret": store.secret} if store.secret else store.url
    fields: dict[str, object] = {"url": where, "type": store.type, "version": store.version, "user": store.user}
    fields |= {"database": store.database, "env": env, "shared": store.shared}
    return {key: value for key, value in fields.items() if value}


def _short(call: CallFound) -> bool:
    """Whether a variable's name says it all."""
    return not call.url and not call.port and not call.optional and list(call.env.values()) == [call.usual]


def _build_table(found: Found) -> bool:
    return bool(found.builder or found.inputs or found.outputs or found.build_env or found.context != ".")


def _health_table(found: Found) -> bool:
    return bool(found.probe or found.health_fields or found.probe_timeout or found.health_port)


def _health(found: Found) -> Mapping[str, object]:
    """`ready` in its shortest form, then the times."""
    ready: object = found.health
    if found.probe:
        ready = {"command": found.probe}
    if found.probe_timeout or found.health_port:
        way: dict[str, object] = {"http": found.health}
        if found.probe:
            way = {"command": found.probe}
        elif not found.health.startswith("/"):
            way = {"grpc": ""} if found.health == "grpc" else {"tcp": True}
        more = {"port": found.health_port, "timeout": found.probe_timeout}
        ready = {**way, **{key: value for key, value in more.items() if value}}
    return {**({"ready": ready} if ready else {}), **found.health_fields}


def _rows(fields: Mapping[str, object], notes: Mapping[str, str], prefix: str) -> list[str]:
    return [_row(key, value, notes.get(f"{prefix}{key}", "")) for key, value in fields.items()]


def _row(key: str, value: object, note: str = "") -> str:
    row = f"{key if _BARE.fullmatch(key) else _text(key)} = {_value(value)}"
    return f"{row}  # {_one_line(note)}" if note else row


def _one_line(note: str) -> str:
    """What a comment may hold: no control characters."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in _clean(note)).split())


def _value(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case dict():
            return "{ " + ", ".join(_row(str(key), item) for key, item in value.items()) + " }"
        case list() | tuple():
            return "[" + ", ".join(_value(item) for item in value) + "]"
    return _text(str(value))


def _text(text: str) -> str:
    """A TOML string; a literal one where that spares escapes."""
    text = _clean(text)
    if ('"' in text or "\\" in text) and "'" not in text and text.isprintable():
        return f"'{text}'"
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode("utf-8")
