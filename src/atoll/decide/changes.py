"""What differs between two releases, in sentences for the receipt. Never a secret's value, nor what looks like one.

The daemon calls `changes` when a rollout begins and when its receipt is written. Pure.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from atoll.model.spec import Before, Command, EnvValue, Job, Plain, SecretRef, ServiceSpec
from atoll.model.state import Release

_LOOKS_SECRET = re.compile(
    r"secret|token|passw|pwd|key|credential|auth|dsn|private|salt|cookie|signature", re.IGNORECASE
)
_IN_URL = re.compile(r"(?<=://)[^/@\s]*(?=@)")  # user:password of an address
_LONGEST = 60
_SAID_ELSEWHERE = frozenset(
    {"name", "env", "run", "folder", "root", "description", "inherit", "files", "jobs", "rollout"}
)


def changes(old: Release | None, new: Release) -> tuple[str, ...]:
    """Sentences such as `env LOG_LEVEL: info -> warn`, the artifact first; one sentence when it is the first release."""
    if old is None:
        return (f"first release, artifact {_short(new.artifact.key)}",)
    return (
        *_artifact(old, new),
        *_run(old, new),
        *_env(old.spec.env, new.spec.env),
        *_pairs("secret", _versions(old), _versions(new)),
        *_pairs("inherited", _masked(old.inherited), _masked(new.inherited), _differ(old.inherited, new.inherited)),
        *_files(old, new),
        *_jobs(old.spec, new.spec),
        *_spec(old, new),
    )


def _artifact(old: Release, new: Release) -> Iterator[str]:
    if old.artifact.key != new.artifact.key:
        yield f"artifact {_short(old.artifact.key)} -> {_short(new.artifact.key)}"
    elif old.artifact.digest != new.artifact.digest:
        yield f"artifact {_short(new.artifact.key)} was built again, with other content"


def _run(old: Release, new: Release) -> Iterator[str]:
    if old.spec.run != new.spec.run:
        yield f"run: {_command(old.spec.run)} -> {_command(new.spec.run)}"


def _command(command: Command | None) -> str:
    return "jobs only" if command is None else _cut(_hide(command.text))


def _env(old: Mapping[str, EnvValue], new: Mapping[str, EnvValue]) -> Iterator[str]:
    yield from _pairs(
        "env", _values(old), _values(new), {name for name in {*old, *new} if old.get(name) != new.get(name)}
    )


def _values(env: Mapping[str, EnvValue]) -> dict[str, str]:
    return {
        name: _shown(name, value.value) if isinstance(value, Plain) else _secret(value) for name, value in env.items()
    }


def _secret(ref: SecretRef) -> str:
    return f"{ref.part} of secret {ref.name}" if ref.part else f"secret {ref.name}"


def _versions(release: Release) -> dict[str, str]:
    return {name: f"v{version}" for name, version in release.secrets.items()}


def _masked(values: Mapping[str, str]) -> dict[str, str]:
    return {name: _shown(name, value) for name, value in values.items()}


def _differ(old: Mapping[str, str], new: Mapping[str, str]) -> set[str]:
    return {name for name in {*old, *new} if old.get(name) != new.get(name)}


def _pairs(
    label: str, old: Mapping[str, str], new: Mapping[str, str], changed: set[str] | None = None
) -> Iterator[str]:
    """One sentence for each changed name; `changed` when the shown texts cannot tell (masked values look alike)."""
    for name in sorted(_differ(old, new) if changed is None else changed):
        yield f"{label} {name}: {old.get(name, 'not set')} -> {new.get(name, 'removed')}"


def _files(old: Release, new: Release) -> Iterator[str]:
    """Their content may be long, and is nobody's business here: that they differ is enough."""
    for name in sorted({*old.spec.files, *new.spec.files}):
        before, after = old.spec.files.get(name), new.spec.files.get(name)
        if before != after:
            yield f"file {name}: {'added' if before is None else 'removed' if after is None else 'changed'}"


def _jobs(old: ServiceSpec, new: ServiceSpec) -> Iterator[str]:
    before, after = _named_jobs(old), _named_jobs(new)
    for name in sorted({*before, *after}):
        one, other = before.get(name), after.get(name)
        if one is None or other is None:
            made = other or one
            assert made is not None
            what = "added" if one is None else "removed"
            yield f"{name} {what}: {_command(made.run)}"
            continue
        if one.run != other.run:
            yield f"{name}: {_command(one.run)} -> {_command(other.run)}"
        yield from (f"{name} {each}" for each in _env(one.env, other.env))
        fields: dict[str, Any] = msgspec.structs.asdict(one)
        for field in sorted(set(fields) - {"name", "run", "env", "job"}):
            values = [getattr(each, field) for each in (one, other)]
            if values[0] != values[1]:
                shown = ["not set" if value is None else str(value) for value in values]
                yield f"{name} {field}: {shown[0]} -> {shown[1]}"


def _named_jobs(spec: ServiceSpec) -> dict[str, Job | Before]:
    named: dict[str, Job | Before] = {f"job {job.name}": job for job in spec.jobs}
    return named | ({"before": spec.rollout.before} if spec.rollout.before else {})


def _spec(old: Release, new: Release) -> Iterator[str]:
    before, after = _flat(old.spec), _flat(new.spec)
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            yield f"{name}: {_cut(before.get(name, 'not set'))} -> {_cut(after.get(name, 'removed'))}"


def _flat(spec: msgspec.Struct) -> dict[str, str]:
    """`health.ready.path` -> its value, for each field that is not told by another sentence."""
    flat: dict[str, str] = {}
    fields: dict[str, Any] = msgspec.to_builtins(spec)
    for name, value in fields.items():
        if name == "stores":  # what they tell the service is told with its variables
            value = [{key: item for key, item in store.items() if key != "env"} for store in value]
        if name not in _SAID_ELSEWHERE and name not in {"build", "image"}:  # what differs there makes another artifact
            _flatten(name, value, flat)
    return flat


def _flatten(name: str, value: Any, flat: dict[str, str]) -> None:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            _flatten(f"{name}.{key}", inner, flat)
    elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            _flatten(f"{name}.{_label(inner, index)}", inner, flat)
    else:
        text = msgspec.json.encode(value).decode() if not isinstance(value, str) else value
        flat[name] = _shown(name.rpartition(".")[2], text)


def _label(item: dict[str, Any], index: int) -> str:
    """What a person calls an element of a list: the callee of a call, the path of a route, the name of a port."""
    if "callee" in item:
        return str(item["callee"]) + (f":{item['port']}" if item.get("port") else "")
    if "strip" in item:
        return f"{item.get('host') or ''}{item['path']}"
    return str(item.get("name", index))


def _shown(name: str, value: str) -> str:
    if certificates := value.count("-----BEGIN CERTIFICATE-----"):
        return f"{certificates} certificate{'s' if certificates != 1 else ''}"
    return "(hidden)" if _LOOKS_SECRET.search(name) else _cut(_hide(value))


def _hide(text: str) -> str:
    return _IN_URL.sub("(hidden)", text)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _short(key: str) -> str:
    return key.rpartition(":")[2][:8]
