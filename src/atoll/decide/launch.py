"""From a symbolic release to what a host starts: templates resolved, ports and edges filled in.

`realise` calls `launch` right before it starts a replica, and `probe_command` for probes by command. Secret values pass
through here into `Launch.secrets` and nowhere else.
"""

import posixpath
from collections.abc import Mapping

from atoll.decide.traffic import LOOPBACK, edge_key
from atoll.model.errors import UserError
from atoll.model.launch import Launch
from atoll.model.spec import Command, Plain, SecretRef
from atoll.model.state import Address, Release, ReplicaRecord
from atoll.model.store_url import parse
from atoll.model.templates import fill, placeholders

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # login's, for a host that has no better


def launch(
    release: Release,
    record: ReplicaRecord,
    leases: Mapping[str, int],
    secrets: Mapping[str, str],
    base: Mapping[str, str] | None = None,
    data: str = "",
) -> Launch:
    """What to start for one replica.

    `leases` maps `traffic.edge_key` to the port of each of its edges (absent optional callees have one, too), `secrets`
    names of the vault to values, `base` is the host's minimal environment (PATH and the like). `data` is the service's
    own folder, which outlives releases and replicas: writable for those whose specification names `{data}`. Later entries
    win: base, inherited, builder, ports, edges, `[env]`. Raises UserError for a secret without a value and for an
    unknown port.
    """
    env = {"PATH": DEFAULT_PATH, **(base or {}), **release.inherited}
    for name, text in release.artifact.command_env.items():
        if name.endswith("+"):
            env[name[:-1]] = ":".join(part for part in (text, env.get(name[:-1], "")) if part)
        else:
            env[name] = text
    env |= _port_env(release, record)
    env |= _edge_env(release, leases)
    hidden: dict[str, str] = {}
    for name, value in release.spec.env.items():
        env.pop(name, None)
        if isinstance(value, SecretRef):
            hidden[name] = _secret(release, name, value, secrets)
        else:
            env[name] = _fill(value.value, release, record, data)
    return Launch(
        id=record.id,
        service=release.service,
        release=release.n,
        command=probe_command(release.spec.run, release, record, data),
        folder=posixpath.normpath(posixpath.join(release.artifact.path, release.spec.workdir)),
        env=env,
        secrets=hidden,
        ports=dict(record.ports),
        limits=release.spec.limits,
        writable=(data,) if data and _names_data(release) else (),
    )


def probe_command(command: Command, release: Release, record: ReplicaRecord, data: str = "") -> Command:
    """A command with its templates resolved for one replica. Raises UserError for an unknown port."""
    return Command(
        argv=tuple(_fill(word, release, record, data) for word in command.argv),
        shell=None if command.shell is None else _fill(command.shell, release, record, data),
    )


def _port_env(release: Release, record: ReplicaRecord) -> dict[str, str]:
    env: dict[str, str] = {}
    for index, port in enumerate(release.spec.ports):
        if name := port.env or ("PORT" if index == 0 else ""):
            env[name] = str(record.ports[port.name])
    return env


def _edge_env(release: Release, leases: Mapping[str, int]) -> dict[str, str]:
    env: dict[str, str] = {}
    for call in release.spec.calls:
        if not call.env:
            continue
        address = Address(LOOPBACK, leases[edge_key(release.service, release.n, call)])
        values = _address_values(address) | _identity(release)
        for name, template in call.env.items():
            env[name] = _filled(template, values, release)
    return env


def _names_data(release: Release) -> bool:
    texts = [release.spec.run.text, *(value.value for value in release.spec.env.values() if isinstance(value, Plain))]
    return any("data" in placeholders(text) for text in texts)


def _fill(text: str, release: Release, record: ReplicaRecord, data: str = "") -> str:
    values = _identity(release)
    if data:
        values["data"] = data
    first = release.spec.port("")
    if first is not None:
        values |= _address_values(Address(LOOPBACK, record.ports[first.name]))
    else:
        values["host"] = LOOPBACK
    values |= {f"port.{name}": str(number) for name, number in record.ports.items()}
    return _filled(text, values, release)


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


def _secret(release: Release, variable: str, ref: SecretRef, secrets: Mapping[str, str]) -> str:
    if ref.name not in secrets:
        raise UserError(
            f"{release.name} cannot be started: secret '{ref.name}' has no value",
            "its environment names the secret, but the vault does not have it",
            f"run `atoll secret set {ref.name}`",
            id="secret-missing",
        )
    value = secrets[ref.name]
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
