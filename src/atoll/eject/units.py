"""systemd units, their nginx, and the script that builds what they run. Pure.

One unit a replica, each with its own fixed port on loopback; a target for all of them.
"""

import posixpath
import shlex
from collections.abc import Iterator, Sequence
from hashlib import blake2s

from atoll.eject import nginx
from atoll.eject.calendar import on_calendar
from atoll.eject.layout import LOOPBACK, UNIT_FILES, Layout, Started, turned
from atoll.model.spec import Job, ServiceSpec

_USER_CHARS = 31
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def units(layout: Layout) -> dict[str, str]:
    """Every unit, by its path."""
    made = {f"systemd/{layout.name}.target": _target(layout)}
    if layout.needs_nginx:
        made[f"systemd/{layout.name}-nginx.service"] = _nginx_unit(layout)
    for spec in layout.services:
        for replica in range(1, spec.replicas + 1):
            made[f"systemd/{unit_name(layout, spec.name, replica)}"] = _unit(layout, spec, replica)
        for job in layout.jobs_of(spec):
            name = f"systemd/{layout.name}-{layout.job_name(spec, job)}"
            made[f"{name}.service"] = _job_unit(layout, spec, job)
            if job.schedule and (times := on_calendar(job)):
                made[f"{name}.timer"] = _timer(layout, spec, job, times)
    return made


def unit_name(layout: Layout, service: str, replica: int) -> str:
    """`shop-orders-1.service`."""
    return f"{layout.name}-{service}-{replica}.service"


def unit_nginx(layout: Layout) -> str:
    """Nginx's configuration on a host: the gateway and every edge. Its paths are relative to its runtime folder."""
    gateway = layout.workspace.environment.gateway
    host = f"[{gateway.host}]" if ":" in gateway.host else gateway.host
    folders = [f"{of}_temp_path {of};" for of in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    head = ("access_log off;", *folders)
    return nginx.configuration(layout, f"{host}:{gateway.port}", layout.upstream, head, edges=True, dns="")


def secret_files(layout: Layout) -> dict[str, str]:
    """For each service with secrets, the variables that a person fills in; never a value."""
    made = {}
    for spec in layout.services:
        started = layout.on_host(spec, 1)
        secrets = dict(started.secrets)
        for job in layout.jobs_of(spec):
            secrets |= started.as_job(job).secrets
        if secrets:
            lines = [f"# Copy to {spec.name}.env (chmod 600) and fill in. Written by `atoll eject`."]
            lines += [f"# the secret {secret}\n{name}=" for name, secret in secrets.items()]
            made[f"systemd/{spec.name}.env.example"] = "\n".join(lines) + "\n"
    return made


def rendered_files(layout: Layout) -> dict[str, str]:
    """The files of every replica, where its unit looks for them; what only a person knows is written `<secret NAME>`."""
    return {
        f"{UNIT_FILES}/{spec.name}-{replica}/{name}": turned(text, lambda kind, of: f"<{kind} {of}>")
        for spec in layout.services
        for replica in range(1, max(1, spec.replicas) + 1)  # jobs use the first one's
        for name, text in layout.on_host(spec, replica).files.items()
    }


def build_script(layout: Layout) -> str:
    """Builds every service (or those named) in a copy of its folder, since that is where the units run it."""
    lines = [
        "#!/bin/sh",
        "# Written by `atoll eject`: builds all services, or those named, where the units run them.",
        "set -eu",
        'cd "$(dirname "$0")"',
    ]
    for spec in layout.services:
        folder = posixpath.normpath(posixpath.join(layout.workspace.root, spec.folder, spec.build.context))
        source = posixpath.relpath(folder, layout.folder)
        lines += ["", f"build_{_identifier(spec.name)}() {{"]
        lines += [f"    rm -rf build/{spec.name}", f"    mkdir -p build/{spec.name}"]
        inside = posixpath.relpath(layout.folder, folder)
        skipped = "" if inside.startswith("..") else f" --exclude={shlex.quote('./' + inside)}"
        lines.append(
            f"    tar -C {shlex.quote(source)}{skipped} --exclude=./service.toml -cf - . | tar -C build/{spec.name} -xf -"
        )
        lines.append(f"    cd build/{spec.name}")
        recipe = layout.recipes.get(spec.name)
        for step in recipe.steps if recipe else ():
            env = {**step.env, **spec.build.env}
            argv = step.command.argv or ("/bin/sh", "-c", step.command.shell or "true")
            words = [*(["env", *(f"{name}={text}" for name, text in env.items())] if env else []), *argv]
            lines.append(f"    {shlex.join(words)}")
        lines.append("}")
    names = " ".join(spec.name for spec in layout.services)
    cases = [f"        {spec.name}) (build_{_identifier(spec.name)}) ;;" for spec in layout.services]
    lines += [
        "",
        f'[ "$#" -gt 0 ] || set -- {names}',
        'for service in "$@"; do',
        '    echo "building $service"',
        '    case "$service" in',
        *cases,
        '        *) echo "no service $service" >&2; exit 2 ;;',
        "    esac",
        "done",
    ]
    return "\n".join(lines) + "\n"


def _identifier(name: str) -> str:
    return name.replace("-", "_")


def _target(layout: Layout) -> str:
    wanted = [unit_name(layout, spec.name, n) for spec in layout.services for n in range(1, spec.replicas + 1)]
    wanted += [f"{layout.name}-{layout.job_name(spec, job)}.timer" for spec, job in timers(layout)]
    if layout.needs_nginx:
        wanted.insert(0, f"{layout.name}-nginx.service")
    lines = ["[Unit]", f"Description=All services of {_one_line(layout.workspace.name)}"]
    lines += [f"Wants={name}" for name in wanted]
    lines += ["", "[Install]", "WantedBy=multi-user.target"]
    return "\n".join(lines) + "\n"


def _nginx_unit(layout: Layout) -> str:
    name = f"{layout.name}-nginx"
    command = f"/usr/bin/env nginx -e stderr -p /run/{name} -c {word(layout.folder + '/systemd/nginx.conf')}"
    lines = [
        "[Unit]",
        f"Description=Gateway and edges of {_one_line(layout.workspace.name)}",
        f"PartOf={layout.name}.target",
        "After=network.target",
        "",
        "[Service]",
        f"ExecStart={command} -g {word('daemon off;')}",
        f"ExecReload=/usr/bin/env nginx -e stderr -p /run/{name} -c {word(layout.folder + '/systemd/nginx.conf')} -s reload",
        "DynamicUser=yes",
        f"RuntimeDirectory={name}",
        "AmbientCapabilities=CAP_NET_BIND_SERVICE",
        "LimitNOFILE=16384",
        "Restart=always",
        "RestartSec=1",
        "",
        "[Install]",
        f"WantedBy={layout.name}.target",
    ]
    return "\n".join(lines) + "\n"


def timers(layout: Layout) -> Iterator[tuple[ServiceSpec, Job]]:
    """Every job with a schedule that systemd can say."""
    return ((spec, job) for spec in layout.services for job in spec.jobs if job.schedule and on_calendar(job))


def _job_unit(layout: Layout, spec: ServiceSpec, job: Job) -> str:
    started = layout.on_host(spec, 1).as_job(job)
    about = f"Runs before a new build of {spec.name}" if job.name == "before" else f"Job {job.name} of {spec.name}"
    lines = ["[Unit]", f"Description={_one_line(about)}", "After=network.target"]
    if any(edge.caller is spec for edge in layout.edges):
        lines[-1] += f" {layout.name}-nginx.service"
        lines.append(f"Wants={layout.name}-nginx.service")
    if job.retries:
        lines += ["StartLimitIntervalSec=1h", f"StartLimitBurst={job.retries + 1}"]
    lines += ["", "[Service]", "Type=oneshot", *_surroundings(layout, started)]
    lines.append(f"ExecStart={_command(started.filled(job.run))}")
    lines += [f"TimeoutStartSec={_time(job.timeout_s)}", *_ending(spec)]
    if job.retries:
        lines += ["Restart=on-failure", "RestartSec=10"]
    return "\n".join([*lines, *_confinement(layout, started)]) + "\n"


def _timer(layout: Layout, spec: ServiceSpec, job: Job, times: Sequence[str]) -> str:
    lines = [
        "[Unit]",
        f"Description=When {job.name} of {spec.name} runs ({job.schedule})",
        f"PartOf={layout.name}.target",
    ]
    lines += ["", "[Timer]", *(f"OnCalendar={time}" for time in times), "AccuracySec=1s"]
    if job.starting_deadline_s > 0:
        lines.append("Persistent=true")
    lines += ["", "[Install]", f"WantedBy={layout.name}.target"]
    return "\n".join(lines) + "\n"


def _unit(layout: Layout, spec: ServiceSpec, replica: int) -> str:
    started = layout.on_host(spec, replica)
    callees = [
        unit_name(layout, name, n)
        for name in layout.after[spec.name]
        for n in range(1, layout.workspace.services[name].replicas + 1)
    ]
    if any(edge.caller is spec for edge in layout.edges):
        callees.insert(0, f"{layout.name}-nginx.service")
    about = spec.description or f"{spec.name} of {layout.workspace.name}"
    lines = ["[Unit]", f"Description={_one_line(about)} (replica {replica})", f"PartOf={layout.name}.target"]
    if callees:
        lines += [f"Wants={' '.join(callees)}", f"After=network.target {' '.join(callees)}"]
    else:
        lines.append("After=network.target")
    lines += ["StartLimitIntervalSec=0", "", "[Service]", *_service(layout, started)]
    lines += ["", "[Install]", f"WantedBy={layout.name}.target"]
    return "\n".join(lines) + "\n"


def _service(layout: Layout, started: Started) -> Iterator[str]:
    spec = started.spec
    assert spec.run is not None  # a service with jobs only has no replica
    yield "Type=exec"
    yield from _surroundings(layout, started)
    yield f"ExecStart={_command(started.filled(spec.run))}"
    if check := _ready(started):
        yield f"ExecStartPost={_command(['/bin/sh', '-c', f'until {check}; do sleep 0.2; done'])}"
    yield f"TimeoutStartSec={_time(spec.health.start_budget_s)}"
    yield from _ending(spec)
    yield "Restart=always"
    yield "RestartSec=1"
    yield from _confinement(layout, started)


def _surroundings(layout: Layout, started: Started) -> Iterator[str]:
    """Where it runs, with which variables."""
    spec = started.spec
    yield f"WorkingDirectory={started.workdir.replace('%', '%%')}"
    env = dict(started.env)
    for name, text in started.before.items():
        env[name] = f"{text}:{env.get(name, _PATH)}" if name == "PATH" or name in env else text
    for name, text in env.items():
        yield f"Environment={word(f'{name}={text}', dollars=False)}"
    if started.secrets:
        yield f"EnvironmentFile={layout.folder.replace('%', '%%')}/systemd/{spec.name}.env"
    if spec.inherit:
        yield f"PassEnvironment={' '.join(spec.inherit)}"


def _ending(spec: ServiceSpec) -> Iterator[str]:
    yield f"KillSignal={spec.stop.signal}"
    yield f"TimeoutStopSec={_time(max(1.0, spec.stop.grace_s))}"


def _confinement(layout: Layout, started: Started) -> Iterator[str]:
    """Its user and its limits."""
    spec = started.spec
    yield "DynamicUser=yes"
    yield f"User={_user(layout, spec.name)}"  # the same for all replicas and jobs, who may share a folder
    if started.keeps_data:
        yield f"StateDirectory={layout.name}/{spec.name}"
    for folder in spec.writable:
        yield f"ReadWritePaths={folder.replace('%', '%%')}"
    if spec.limits.memory_bytes is not None:
        yield f"MemoryMax={spec.limits.memory_bytes}"
    if spec.limits.cpu_weight is not None:
        yield f"CPUWeight={spec.limits.cpu_weight}"
    if spec.limits.cpus is not None:
        yield f"CPUQuota={spec.limits.cpus * 100:g}%"
    if spec.limits.pids is not None:
        yield f"TasksMax={spec.limits.pids}"
    if spec.limits.open_files is not None:
        yield f"LimitNOFILE={spec.limits.open_files}"


def _ready(started: Started) -> str:
    """A shell command that succeeds once the replica is ready; "" when alive is enough. gRPC is asked as TCP."""
    probe = started.spec.health.ready
    if probe.kind == "process":
        return ""
    if probe.command is not None:
        return shlex.join(started.filled(probe.command))
    if probe.kind == "http":
        headers = "".join(f" -H {shlex.quote(f'{name}: {value}')}" for name, value in probe.headers.items())
        url = shlex.quote(f"http://{LOOPBACK}:{started.probed_port}{probe.path}")
        return f"curl -fsS -o /dev/null -m {max(1.0, probe.timeout_s):g}{headers} {url}"
    return f"bash -c 'exec 3<>/dev/tcp/{LOOPBACK}/{started.probed_port}' 2>/dev/null"


def _user(layout: Layout, service: str) -> str:
    """A name that systemd takes: at most 31 characters."""
    name = f"{layout.name}-{service}"
    name = name if name[0].isalpha() else f"u-{name}"
    return name if len(name) <= _USER_CHARS else f"{name[:22]}-{blake2s(name.encode(), digest_size=4).hexdigest()}"


# --- systemd's own syntax -----------------------------------------------------------------------------------------


def _command(argv: Sequence[str]) -> str:
    words = list(argv)
    if not words[0].startswith("/"):  # systemd looks for programs in a path of its own, not in the unit's
        words = ["/usr/bin/env", *words]
    return " ".join(map(word, words))


def word(text: str, *, dollars: bool = True) -> str:
    """One word of a setting. `%` begins a specifier; in a command `$` begins a variable."""
    made = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t").replace("%", "%%")
    if dollars:
        made = made.replace("$", "$$")
    plain = made.isascii() and all(mark.isalnum() or mark in "/._-=:,@+" for mark in made) and made
    return made if plain else f'"{made}"'


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("%", "%%")


def _time(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms" if seconds != int(seconds) else f"{int(seconds)}s"
