"""From a symbolic release to what a host starts: templates resolved, ports and edges filled in, files rendered.

`realise` calls `launch` right before it starts a replica, `job_launch` before a job, and `probe_command` for probes by
command. Secret values pass through here into `Launch.secrets` and `Launch.files` and nowhere else.
"""

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from atoll.decide.traffic import LOCAL, edge_key, edge_keys
from atoll.model.errors import UserError
from atoll.model.launch import Launch, Network, Reach
from atoll.model.spec import Command, EnvValue, Plain, SecretRef
from atoll.model.state import LOOPBACK, Address, JobRun, Release, ReplicaRecord
from atoll.model.store_url import is_password, parse
from atoll.model.templates import PORT_PLACEHOLDERS, SECRET_PREFIX, fill, placeholders

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # login's, for a host that has no better


class Folders(NamedTuple):
    """Absolute folders that a host gives; "" is none.

    `data` is the service's own, which outlives releases and replicas; `files` has a folder of rendered files a replica.
    """

    data: str = ""
    files: str = ""


NOWHERE = Folders()


def launch(
    release: Release,
    record: ReplicaRecord,
    leases: Mapping[str, int],
    secrets: Mapping[str, str],
    base: Mapping[str, str] | None = None,
    folders: Folders = NOWHERE,
    reach: Reach = LOCAL,
) -> Launch:
    """What to start for one replica.

    `leases` maps `traffic.edge_key` to the port of each of its edges (absent optional callees have one, too), `secrets`
    names of the vault to values, `base` is the host's minimal environment (PATH and the like), `reach` how it and its edges are reached. The data folder is
    writable for those whose specification names `{data}`. Later entries win: base, inherited, builder, ports, edges,
    `[env]`. Raises UserError for a secret without a value and for an unknown port.
    """
    if release.spec.run is None:
        raise UserError(
            f"{release.name} cannot be started",
            "it has jobs only",
            f"`atoll run {release.service} JOB`",
            id="not-possible-here",
        )
    env = _base_env(release, base) | _port_env(release, record) | _edge_env(release, leases, reach)
    values = _values(release, record.id, leases, folders, reach, record)
    made = _launch(record.id, release, release.spec.run, env, release.spec.env.items(), values, secrets, folders)
    network = _network(release, record, leases)
    return msgspec.structs.replace(made, host=record.host, ports=dict(record.ports), network=network)


def job_launch(
    release: Release,
    run: JobRun,
    leases: Mapping[str, int],
    secrets: Mapping[str, str],
    base: Mapping[str, str] | None = None,
    folders: Folders = NOWHERE,
    reach: Reach = LOCAL,
) -> Launch:
    """What to start for one run of a job: as `launch`, with the job's own variables on top, and without a port.

    Variables and files of the service that name a port of its own are left out: nothing of a job listens there.
    """
    env = _base_env(release, base) | _edge_env(release, leases, reach)
    own = [(name, value) for name, value in release.spec.env.items() if not _names_port(value, release)]
    values = _values(release, run.process, leases, folders, reach, None)
    return _launch(run.process, release, run.command, env, [*own, *run.env.items()], values, secrets, folders)


def _launch(
    id: str,
    release: Release,
    command: Command,
    env: dict[str, str],
    own: Iterable[tuple[str, EnvValue]],
    values: Mapping[str, str],
    secrets: Mapping[str, str],
    folders: Folders,
) -> Launch:
    """With `own` variables on top of `env`, and the files that can be rendered of what there is."""
    hidden: dict[str, str] = {}
    for name, value in own:
        env.pop(name, None)
        hidden.pop(name, None)
        if isinstance(value, SecretRef):
            hidden[name] = _secret(release, name, value, secrets, values)
        else:
            env[name] = _filled(value.value, values, release)
    inside = {**values, **{f"env.{name}": text for name, text in (env | hidden).items()}}
    inside |= {
        f"{SECRET_PREFIX}{name}": _secret(release, "a file", SecretRef(name), secrets, values)
        for name in release.spec.file_secrets
    }
    files, image = release.spec.files.items(), release.artifact.image
    return Launch(
        id=id,
        service=release.service,
        release=release.n,
        command=_resolved(command, values, release),
        folder=posixpath.normpath(
            posixpath.join(image.folder if image else release.artifact.path, release.spec.workdir)
        ),
        image=image,
        env=env,
        secrets=hidden,
        limits=release.spec.limits,
        grace_s=release.spec.stop.grace_s,
        writable=(*((folders.data,) if folders.data and _names_data(release) else ()), *release.spec.writable),
        files={name: _filled(f.text, inside, release) for name, f in files if _can_be_filled(f.text, inside, release)},
        files_hold_secrets=_holds_secrets(release),
        files_folder=values.get("files", ""),
        in_place=release.artifact.in_place,
    )


def _base_env(release: Release, base: Mapping[str, str] | None) -> dict[str, str]:
    env = {"PATH": DEFAULT_PATH, **(base or {}), **release.inherited}
    for name, text in release.artifact.command_env.items():
        if name.endswith("+"):
            env[name[:-1]] = ":".join(part for part in (text, env.get(name[:-1], "")) if part)
        else:
            env[name] = text
    return env


def probe_command(
    command: Command,
    release: Release,
    record: ReplicaRecord,
    leases: Mapping[str, int],
    folders: Folders = NOWHERE,
    reach: Reach = LOCAL,
) -> Command:
    """A command with its templates resolved for one replica. Raises UserError for an unknown port."""
    return _resolved(command, _values(release, record.id, leases, folders, reach, record), release)


def _resolved(command: Command, values: Mapping[str, str], release: Release) -> Command:
    return Command(
        argv=tuple(_filled(word, values, release) for word in command.argv),
        shell=None if command.shell is None else _filled(command.shell, values, release),
    )


def _values(
    release: Release,
    id: str,
    leases: Mapping[str, int],
    folders: Folders,
    reach: Reach,
    record: ReplicaRecord | None,
) -> dict[str, str]:
    """What every template of one replica, or with None of one job, may name; a job listens nowhere."""
    values = {**_identity(release), "host": reach.listen}
    if folders.data:
        values["data"] = folders.data
    if folders.files and release.spec.files:
        values["files"] = f"{folders.files}/{id}"
    ports = _numbers(release, record) if record else {}
    first = release.spec.port("")
    if first is not None and record is not None:
        values |= _address_values(Address(record.host, ports[first.name])) | {"host": reach.listen}
    values |= {f"port.{name}": str(number) for name, number in ports.items()}
    for call in release.spec.calls:
        port = leases.get(edge_key(release.service, release.n, call))
        if port is not None:
            address = _address_values(Address(reach.edges, port))
            values |= {f"calls.{call.callee}.{part}": text for part, text in address.items()}
    return values


def _numbers(release: Release, record: ReplicaRecord) -> dict[str, int]:
    """Where the replica listens, as itself sees it."""
    fixed = {port.name: port.number for port in release.spec.ports if port.number is not None}
    return {**record.ports, **fixed}


def _network(release: Release, record: ReplicaRecord, leases: Mapping[str, int]) -> Network | None:
    if not release.spec.own_network or record.host != LOOPBACK:
        return None
    numbers = _numbers(release, record)
    edges = {leases[key] for key in edge_keys(release) if key in leases}
    return Network(inward={outer: numbers[name] for name, outer in record.ports.items()}, outward=tuple(sorted(edges)))


def _port_env(release: Release, record: ReplicaRecord) -> dict[str, str]:
    env: dict[str, str] = {}
    numbers = _numbers(release, record)
    for index, port in enumerate(release.spec.ports):
        if name := port.env or ("PORT" if index == 0 else ""):
            env[name] = str(numbers[port.name])
    return env


def _edge_env(release: Release, leases: Mapping[str, int], reach: Reach) -> dict[str, str]:
    env: dict[str, str] = {}
    for call in release.spec.calls:
        if not call.env:
            continue
        address = Address(reach.edges, leases[edge_key(release.service, release.n, call)])
        values = _address_values(address) | _identity(release)
        for name, template in call.env.items():
            env[name] = _filled(template, values, release)
    return env


def _holds_secrets(release: Release) -> bool:
    every = ((name, value) for env in release.spec.every_env for name, value in env.items())
    hidden = {f"env.{name}" for name, value in every if isinstance(value, SecretRef)}
    named = {name for file in release.spec.files.values() for name in placeholders(file.text)}
    return any(name in hidden or name.startswith(SECRET_PREFIX) for name in named)


def _names_data(release: Release) -> bool:
    return any("data" in placeholders(text) for text in _texts(release))


def _texts(release: Release) -> Iterator[str]:
    yield from (command.text for command in release.spec.every_command)
    yield from (value.value for env in release.spec.every_env for value in env.values() if isinstance(value, Plain))
    yield from (file.text for file in release.spec.files.values())


def _names_port(value: EnvValue, release: Release) -> bool:
    """Whether a variable tells where the service itself listens."""
    names = placeholders(value.value) if isinstance(value, Plain) and release.spec.ports else ()
    return any(name in PORT_PLACEHOLDERS or name.startswith("port.") for name in names)


def _can_be_filled(text: str, values: Mapping[str, str], release: Release) -> bool:
    """All but a file that names a port, or a variable that does, where nothing listens: a job's."""
    own = {f"env.{name}" for name, value in release.spec.env.items() if _names_port(value, release)}
    own |= {f"env.{port.env}" for port in release.spec.ports}
    own |= {*PORT_PLACEHOLDERS, *(f"port.{port.name}" for port in release.spec.ports)}
    return not any(name in own and name not in values for name in placeholders(text))


def _filled(text: str, values: Mapping[str, str], release: Release) -> str:
    try:
        return fill(text, values)
    except KeyError as missing:
        ports = ", ".join(port.name for port in release.spec.ports)
        raise UserError(
            f"{release.name} cannot be started: no value for {{{missing.args[0]}}}",
            f"{release.service} declares {f'the ports {ports}' if ports else 'no port'}",
            f"declare it in {release.service}'s service.toml, or remove the placeholder",
            id="unknown-placeholder",
        ) from missing


def _address_values(address: Address) -> dict[str, str]:
    return {
        "host": address.host,
        "port": str(address.port),
        "address": str(address),
        "url": f"http://{address}",
    }


def _identity(release: Release) -> dict[str, str]:
    return {"service": release.service, "release": f"r{release.n}"}


def _secret(
    release: Release, variable: str, ref: SecretRef, secrets: Mapping[str, str], values: Mapping[str, str]
) -> str:
    if ref.name not in secrets:
        raise UserError(
            f"{release.name} cannot be started: secret '{ref.name}' has no value",
            "its environment names the secret, but the vault does not have it",
            "run `atoll up`: it makes it when it starts the store"
            if is_password(ref.name)
            else f"run `atoll secret set {ref.name}`",
            id="secret-missing",
        )
    value = secrets[ref.name]
    if ref.password:
        return _filled(ref.part, {**values, "password": value}, release)
    if not ref.part:
        return value
    try:
        return fill(ref.part, {**parse(value).values(value), **_identity(release)})
    except (KeyError, ValueError) as exc:
        missing = f"it has no {exc.args[0]}" if isinstance(exc, KeyError) else str(exc)
        raise UserError(
            f"{release.name} cannot be started: {variable} cannot be made of the secret '{ref.name}'",
            f"as the URL of a store, {missing}",
            f"run `atoll secret set {ref.name}` with one such as postgres://user:password@db:5432/orders",
            id="secret-invalid",
        ) from None  # the cause would quote the value in a traceback
