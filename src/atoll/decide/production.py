"""Is this environment fit for production? Each check of `atoll doctor` that is about that, as data. Pure.

`app.checks` asks it of a machine before anything runs there, `daemon.checkup` also of what runs. "Bad" (`ok` False) is what
is open to strangers, is about to end, or would lose data; what a team may have decided so is a note (`ok` None). A limit
stands where the documentation of who needs it puts it, else where a machine with little traffic would not meet it.
"""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from atoll.model.machine import MachineFacts, Used
from atoll.model.wire_doctor import DoctorView

_MEMORY_LEAST_BYTES = 256 * 2**20  # keeper, daemon and Envoy take about 150 MiB, and the kernel needs room for files
_DISK_LEAST_BYTES, _DISK_FULL_PCT, _DISK_CLOSE_PCT = 2**30, 95.0, 85.0
_FULL_PCT, _CLOSE_PCT = 90.0, 70.0  # of things that are counted: processes, files, connections
_FILES_LEAST, _FILES_GOOD = 1024, 16_384  # of Envoy: two for each request that waits for a service
_BACKLOG_GOOD = 1024  # connections that wait to be accepted; the kernel's own default is 4096 since 5.4
_PIDS_MOST = 2**22  # the kernel takes no more for kernel.pid_max (PID_MAX_LIMIT of 64 bits)
_INSTANCES_GOOD, _WATCHES_GOOD = 128, 8192  # the kernel's own defaults: a file watcher of .NET or Node takes one each


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A service that is wanted, as far as it matters here."""

    name: str
    store: str = ""  # its type, when Atoll runs it as a store
    replicas: int = 1
    overlap: bool = True  # whether two may run at once
    serves: bool = True  # whether somebody waits for its answers
    limit_bytes: int | None = None  # of each replica
    used_bytes: int | None = None  # by the replica that takes most
    exposed: tuple[str, ...] = ()  # where it listens and others reach it, HOST:PORT


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What atoll.toml says of the environment."""

    gateway: str  # HOST:PORT
    host: str
    tls: bool
    ports: tuple[int, int]
    faults: bool  # whether some may be injected
    notifies: bool  # whether anybody is told of what goes wrong


def machine(facts: MachineFacts) -> Iterator[DoctorView]:
    """The machine's room, clock and limits."""
    yield from _memory(facts)
    yield from _disk(facts)
    yield _clock(facts.synchronised)
    if facts.proxy_files is not None:
        yield _proxy_files(facts.proxy_files)
    if facts.proxy_is_root is not None:
        yield _proxy_user(root=facts.proxy_is_root)
    yield from _counted("files", "files are open", facts.files, _doubled("fs.file-max", facts.files))
    yield from _counted("processes", "processes and threads run", facts.processes, _more_processes(facts))
    more = _doubled(_CONNTRACK, facts.connections)
    yield from _counted("tracked connections", "connections are kept track of", facts.connections, more)
    if facts.backlog is not None:
        text = f"{facts.backlog} connections may wait at a listener"
        yield _view(
            "backlog", None if facts.backlog < _BACKLOG_GOOD else True, text, sysctl("net.core.somaxconn", 4096)
        )
    yield from _inotify(facts)


def environment(setting: Setting, running: Sequence[Running], facts: MachineFacts) -> Iterator[DoctorView]:
    """What runs, and how."""
    yield leases(setting.ports, facts.ephemeral)
    yield from encryption(setting.gateway, setting.host, tls=setting.tls)
    yield from _exposed(running, setting.ports)
    yield from _limits(running)
    yield from _promised(running, facts)
    yield from _alone(running)
    if setting.faults:
        text = "faults may be injected here, by admins"
        yield _view("faults", None, text, "leave out `faults` of this environment in atoll.toml, unless it is meant")
    text = "webhooks tell what goes wrong" if setting.notifies else "nobody is told of what goes wrong"
    yield _view(
        "notify", setting.notifies or None, text, "`notify` of this environment in atoll.toml: a chat or a pager"
    )


def _view(check: str, ok: bool | None, text: str, fix: str) -> DoctorView:
    return DoctorView(check=check, ok=ok, text=text, fix="" if ok else fix)


def sysctl(name: str, value: object) -> str:
    """How a limit of the kernel is raised for good."""
    file = "/etc/sysctl.d/60-atoll.conf"
    return f"as root: sysctl -w {name}={value}; the line `{name} = {value}` in {file} keeps it"


# --- the machine -------------------------------------------------------------------------------------------------------


def _memory(facts: MachineFacts) -> Iterator[DoctorView]:
    if facts.memory_free_bytes is None or facts.memory_bytes is None:
        return
    text = f"{size(facts.memory_free_bytes)} of {size(facts.memory_bytes)} available"
    fix = "stop something, or take a larger machine: a deploy starts the new replicas before it stops the old ones"
    yield _view("memory headroom", facts.memory_free_bytes >= _MEMORY_LEAST_BYTES, text, fix)


def _disk(facts: MachineFacts) -> Iterator[DoctorView]:
    for what, used in (("disk headroom", facts.disk), ("inodes", facts.inodes)):
        if used is None:
            continue
        left = used.most - used.used
        full = used.pct >= _DISK_FULL_PCT or (used is facts.disk and left < _DISK_LEAST_BYTES)
        close = used.pct >= _DISK_CLOSE_PCT
        amount = f"{size(left)} of {size(used.most)}" if used is facts.disk else f"{left} of {used.most}"
        fix = (
            "free some, or take a larger disk: when it is full nothing is deployed, and nothing that died is restarted"
        )
        yield _view(what, False if full else None if close else True, f"{amount} free where the state is", fix)


def _clock(synchronised: bool | None) -> DoctorView:
    if synchronised is None:
        return _view("clock", None, "whether it follows a time server the kernel does not say", "see `timedatectl`")
    text = (
        "it follows a time server" if synchronised else "it follows no time server: certificates and schedules go by it"
    )
    return _view("clock", synchronised or None, text, "as root: `timedatectl set-ntp true`, or install chrony")


def _proxy_files(limit: int) -> DoctorView:
    text = f"Envoy may have {limit} open, two for each request that waits" if limit < 10**9 else "no limit for Envoy"
    fix = "`ulimit -n 65536` before what starts the environment (LimitNOFILE= in a unit), then start it anew"
    return _view("open files", False if limit < _FILES_LEAST else None if limit < _FILES_GOOD else True, text, fix)


def _proxy_user(*, root: bool) -> DoctorView:
    text = "Envoy, which reads what strangers send, " + ("runs as root" if root else "has no rights of root's")
    fix = (
        "`atoll install` on the machine, with an Atoll that all users may read (in /opt, say), gives it a user of its own; "
        "then reload the unit"
    )
    return _view("proxy user", None if root else True, text, fix)


_CONNTRACK = "net.netfilter.nf_conntrack_max"


def _counted(check: str, are: str, used: Used | None, more: str) -> Iterator[DoctorView]:
    if used is not None:
        ok = False if used.pct >= _FULL_PCT else None if used.pct >= _CLOSE_PCT else True
        yield _view(check, ok, f"{used.used} {are}, of {used.most} at most", f"find out who has them; {more}")


def _doubled(limit: str, used: Used | None) -> str:
    return sysctl(limit, 2 * used.most) if used is not None else ""


def _more_processes(facts: MachineFacts) -> str:
    """By the limit that is met first: to raise another one changes nothing."""
    if facts.processes is None or not facts.processes_by:
        return (
            "a control group has that limit: TasksMax= of the unit (`systemctl edit`, then `systemctl daemon-reload`)"
        )
    most = (
        min(2 * facts.processes.most, _PIDS_MOST)
        if facts.processes_by == "kernel.pid_max"
        else 2 * facts.processes.most
    )
    return sysctl(facts.processes_by, most)


def _inotify(facts: MachineFacts) -> Iterator[DoctorView]:
    for name, what, found, good in (
        ("max_user_instances", "watchers of files", facts.inotify_instances, _INSTANCES_GOOD),
        ("max_user_watches", "files to watch", facts.inotify_watches, _WATCHES_GOOD),
    ):
        if found is not None and found < good:
            yield _view("inotify", None, f"{found} {what} for each user", sysctl(f"fs.inotify.{name}", 4 * good))


# --- the environment ---------------------------------------------------------------------------------------------------


def leases(ports: tuple[int, int], ephemeral: tuple[int, int] | None) -> DoctorView:
    """Whether replicas' and edges' ports are the kernel's own, too."""
    low, high = ports
    if ephemeral is None:
        return DoctorView(check="ports", ok=None, text=f"{low}-{high}; the kernel's own range could not be read")
    first, last = ephemeral
    text = f"{low}-{high} for replicas and edges; the kernel hands out {first}-{last}"
    fix = f"`ports` of this environment in atoll.toml: a range below {first}, or outgoing connections will take services' ports"
    return _view("ports", not (low <= last and first <= high), text, fix)


def encryption(gateway: str, host: str, *, tls: bool) -> Iterator[DoctorView]:
    """A gateway that others reach and that speaks plain HTTP; a note, since something may encrypt before it."""
    if not tls and not local(host):
        text = f"{gateway} is reached from other machines and speaks plain HTTP: whoever is between reads along"
        fix = "`tls` of `gateway` in atoll.toml, unless something before it encrypts (docs/howto/tls.md)"
        yield _view("encryption", None, text, fix)


def tokens(api: str) -> Iterator[DoctorView]:
    """A read-only API (HOST:PORT; "" is none) that others reach; a note for the same reason."""
    if api and not local(api.rpartition(":")[0].strip("[]")):
        text = (
            f"the API on {api} is reached from other machines and encrypts nothing: its tokens can be read on their way"
        )
        fix = "`api` on 127.0.0.1, behind something that speaks TLS, or a tunnel (docs/howto/access.md)"
        yield _view("api", None, text, fix)


def local(host: str) -> bool:
    """Whether an address is this machine's own, which nobody else reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listens(service: str) -> str:
    """That it can be reached past the proxy, in a sentence; also the notice of `atoll status`."""
    return f"{service} listens on all addresses, so it can be reached past the proxy; bind 127.0.0.1"


def passed(service: str, exposed: Sequence[str]) -> str:
    """Where somebody reaches a service who should come through the gateway, in a sentence."""
    return f"{', '.join(exposed)}: whoever reaches the machine reaches {service} there, past the gateway"


def _exposed(running: Sequence[Running], ports: tuple[int, int]) -> Iterator[DoctorView]:
    for each in running:
        if each.exposed:
            text = passed(each.name, each.exposed)
            fix = (
                f"let it bind 127.0.0.1 (`{{host}}` in `run`); until then have the firewall close {_ports(each, ports)}"
            )
            yield _view(f"listeners of {each.name}", False, text, fix)
    if not any(each.exposed for each in running):
        yield _view("listeners", True, "no service can be reached past the gateway", "")


def _ports(running: Running, leased: tuple[int, int]) -> str:
    numbers = sorted({int(address.rpartition(":")[2]) for address in running.exposed})
    others = [str(number) for number in numbers if not leased[0] <= number <= leased[1]]
    range_ = [f"{leased[0]}-{leased[1]}"] if len(others) < len(numbers) else []
    return ", ".join([*range_, *others])


def _limits(running: Sequence[Running]) -> Iterator[DoctorView]:
    lacking = [each for each in running if each.limit_bytes is None]
    if not lacking:
        yield _view("limits", True, "every service has a memory limit", "")
        return
    text = f"{', '.join(each.name for each in lacking)}: no memory limit; one that leaks takes the machine with it"
    yield _view("limits", None, text, "; ".join(_limit(each) for each in lacking))


def _limit(running: Running) -> str:
    """A limit with room: the next power of two above twice what is used."""
    where = f"at the store {running.name}" if running.store else f"in the service.toml of {running.name}"
    said = 'memory = "256MiB"' if running.used_bytes is None else f'memory = "{_roomy(running.used_bytes)}"'
    now = "" if running.used_bytes is None else f" (it uses {size(running.used_bytes)} now)"
    return f"{said if running.store else f'limits = {{ {said} }}'} {where}{now}"


def _roomy(used_bytes: int) -> str:
    mebibytes = max(64, 1 << (2 * used_bytes // 2**20).bit_length())
    return f"{mebibytes // 1024}GiB" if mebibytes >= 1024 else f"{mebibytes}MiB"


def _promised(running: Sequence[Running], facts: MachineFacts) -> Iterator[DoctorView]:
    """Whether everything fits when it uses what it may, and the largest is deployed."""
    limited = {each.name: (each.limit_bytes or 0) * each.replicas for each in running}
    promised = sum(limited.values())
    if not promised or facts.memory_bytes is None:
        return
    doubled: Mapping[str, int] = {each.name: limited[each.name] for each in running if each.overlap and not each.store}
    largest = max(doubled, key=lambda name: doubled[name], default="")
    need = promised + doubled.get(largest, 0)
    text = f"services may use {size(promised)} of {size(facts.memory_bytes)} by their limits"
    if doubled.get(largest):
        text += f", {size(need)} while {largest} is deployed"
    fix = f"lower limits or replicas, or `overlap = false` for {largest}" if largest else "lower limits or replicas"
    yield _view("memory promised", need <= facts.memory_bytes or None, text, f"{fix}; or take a larger machine")


def _alone(running: Sequence[Running]) -> Iterator[DoctorView]:
    single = [each.name for each in running if each.replicas == 1 and each.overlap and each.serves and not each.store]
    if single:
        text = f"{', '.join(single)}: one replica; while it starts again after a crash nobody answers"
        yield _view("replicas", None, text, "`replicas = 2` in service.toml, where two may run at once")


def size(count: int) -> str:
    """`3.2 GiB`."""
    for unit, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}" if count < 1000 * factor else f"{count // factor} {unit}"
    return f"{count / 2**10:.3g} KiB"
