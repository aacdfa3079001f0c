"""The fields of a Compose file that have no place in `service.toml`, each with what that means and what to do."""

from collections.abc import Mapping

from atoll.adopt.compose_told import Told
from atoll.adopt.found import Left
from atoll.adopt.tree import items, table
from atoll.adopt.yaml_file import Fields

# Read elsewhere: whatever of them cannot be carried over is told there.
_CARRIED = frozenset(
    {"build", "command", "entrypoint", "ports", "expose", "environment", "env_file", "depends_on", "links"}
    | {"healthcheck", "volumes", "profiles", "scale", "mem_limit", "stop_signal", "stop_grace_period", "extends"}
    | {"working_dir"}
)
_UNNEEDED: Mapping[str, str] = {
    "image": "nothing is packed into one here",
    "container_name": "the service's name is its name",
    "hostname": "services meet through the proxy",
    "domainname": "services meet through the proxy",
    "networks": "services meet through the proxy",
    "network_mode": "services share this machine's network",
    "expose": "only the gateway can be reached from outside",
    "logging": "`atoll logs` shows what it prints",
    "log_driver": "`atoll logs` shows what it prints",
    "log_opt": "`atoll logs` shows what it prints",
    "develop": "`atoll dev` takes edits over",
    "labels": "nobody reads them here",
    "label_file": "nobody reads them here",
    "annotations": "nobody reads them here",
    "init": "a shim reaps what a service leaves behind",
    "tty": "a service has no terminal",
    "stdin_open": "a service has no terminal",
    "attach": "`atoll logs -f` follows all",
    "platform": "it is this machine's",
    "pull_policy": "no image is pulled",
    "credential_spec": "it is for Windows",
    "isolation": "it is for Windows",
    "cgroup": "limits are those of [limits]",
    "cgroup_parent": "limits are those of [limits]",
    "runtime": "there is no container",
    "storage_opt": "there is no container",
    "userns_mode": "there is no container",
    "uts": "there is no container",
    "read_only": "artifacts are read-only",
    "cap_drop": "a service has no capabilities beyond its user's",
    "memswap_limit": "[limits] memory is what counts",
    "mem_swappiness": "[limits] memory is what counts",
    "mem_reservation": "memory is not reserved",
}
_CPU = "[limits] cpu_weight is the share when the CPU is short; on containers cpus is a limit"
_PRIVILEGE = "give this machine's user what it needs"
_FIX: Mapping[str, str] = {
    "secrets": 'atoll secret set NAME, and a variable { secret = "NAME" }',
    "configs": "render it with [files], or point the program at the file",
    "user": "as root Atoll runs each service under a user of its own",
    "group_add": _PRIVILEGE,
    "privileged": _PRIVILEGE,
    "cap_add": _PRIVILEGE,
    "devices": _PRIVILEGE,
    "device_cgroup_rules": _PRIVILEGE,
    "security_opt": _PRIVILEGE,
    "sysctls": "set it on this machine (sysctl)",
    "cpus": _CPU,
    "cpu_shares": _CPU,
    "cpu_quota": _CPU,
    "cpu_period": _CPU,
    "cpu_percent": _CPU,
    "cpu_count": _CPU,
    "cpuset": _CPU,
    "cpu_rt_period": _CPU,
    "cpu_rt_runtime": _CPU,
    "blkio_config": "nothing limits its disk here",
    "extra_hosts": "put them into /etc/hosts of this machine",
    "dns": "this machine's resolver is asked",
    "dns_search": "this machine's resolver is asked",
    "dns_opt": "this machine's resolver is asked",
    "external_links": "name the address: [calls.NAME] with url = ...",
    "tmpfs": "the service has {data} and the system's temporary folder",
    "shm_size": "it is this machine's",
    "pids_limit": "[limits] pids, on containers only",
    "oom_kill_disable": "the kernel decides",
    "oom_score_adj": "the kernel decides",
    "ipc": "services share this machine's",
    "pid": "services share this machine's",
    "gpus": "this machine's are there for all",
    "volumes_from": "point the program at the folder, by variable or argument",
    "volume_driver": "point the program at the folder, by variable or argument",
    "post_start": "make it part of `run`",
    "pre_stop": "do it on the stop signal",
    "provider": "run it beside Atoll",
    "models": "run the model beside Atoll, and name its address",
    "mac_address": "it is this machine's",
    "use_api_socket": "point the program at Docker's socket",
}


# What the fields that are read elsewhere may be; anything else there would be passed over.
_SHAPES: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("ports", "expose", "volumes", "profiles", "links"), (list,)),
    **dict.fromkeys(("environment", "depends_on"), (dict, list)),
    **dict.fromkeys(("healthcheck", "deploy", "ulimits"), (dict,)),
    **dict.fromkeys(("command", "entrypoint"), (str, list)),
    **dict.fromkeys(("scale", "mem_limit", "stop_signal", "stop_grace_period", "working_dir", "restart"), (str,)),
    "build": (str, dict),
    "env_file": (str, list, dict),
    "extends": (str, dict),
}
_TEXTS = frozenset({"expose", "profiles", "links", "command", "entrypoint", "environment"})  # lists of texts only


def rest(raw: Fields, told: Told) -> None:
    """Tell every field that is not carried over."""
    for key, value in raw.items():
        if value not in (None, "", [], {}) and not _shaped(key, value):
            told.left(f"{key} is not understood", "see the Compose specification for what may stand there", key)
        elif key in _CARRIED or key.startswith("x-") or value in (None, "", [], {}):
            continue
        if key == "restart":
            _restart(str(value), told)
        elif key == "deploy":
            _deploy(table(value), told)
        elif key == "ulimits":
            for name in table(value):
                if name != "nofile":
                    told.left(f"ulimits.{name} is not carried over", "set it for this machine's user", key, name)
        elif key in _UNNEEDED:
            told.unneeded(key, _UNNEEDED[key])
        else:
            told.left(
                f"{key}{_named(value)} is not carried over",
                _FIX.get(key, "see what it did, and do it for this machine"),
                key,
            )
    if raw.get("expose"):
        told.unneeded("expose", _UNNEEDED["expose"])
    if raw.get("working_dir"):
        told.unneeded("working_dir", "a service starts in its artifact; `workdir` is a folder of it")
    _links(raw, told)
    _build(table(raw.get("build")), told)


def _shaped(key: str, value: object) -> bool:
    """Whether a field has a shape in which it is read."""
    if isinstance(value, list) and not all(isinstance(item, str if key in _TEXTS else str | dict) for item in value):
        return key not in _SHAPES
    return isinstance(value, _SHAPES.get(key, (object,)))


def _restart(value: str, told: Told) -> None:
    if value in {"no", "false"}:
        told.left('restart: "no": Atoll restarts what ends', "a job that ends is no service", "restart")
    elif value.startswith("on-failure"):
        told.unneeded("restart", "what fails is started again, with back-off; what ends well is, too")
    else:
        told.unneeded("restart", "what ends is started again, with back-off")


def _links(raw: Fields, told: Told) -> None:
    """Names under which another service was known."""
    links = [str(each) for each in items(raw.get("links"))]
    aliases = [each for each in links if ":" in each]
    if plain := [each for each in links if ":" not in each]:
        told.unneeded("links", f"{', '.join(plain)}: services meet through the proxy")
    if aliases:
        told.left(f"links ({', '.join(aliases)}): the other name is not known here", "use the service's own", "links")
    for name, network in table(raw.get("networks")).items():
        if names := table(network).get("aliases"):
            shown = ", ".join(map(str, names)) if isinstance(names, list) else str(names)
            told.left(f"alias {shown} in {name} is not known here", "use the service's own name", "networks", name)


def _build(build: Mapping[str, object], told: Told) -> None:
    """What of `build` is not its folder, its Dockerfile and its stage."""
    for key, value in build.items():
        if key in {"context", "dockerfile", "target", "dockerfile_inline"} or not value:
            continue
        if key in {"args", "additional_contexts", "secrets", "ssh"}:
            what = f"build.{key}{_named(value)} is for the image"
            told.left(what, "a build here gets variables by [build] env", "build", key)
        elif not key.startswith("x-"):
            told.unneeded(f"build.{key}", "it has no meaning here, for images either")
    if build.get("target"):
        told.unneeded("build.target", "its stage told how it runs; [image] has it for containers")


def _deploy(deploy: Mapping[str, object], told: Told) -> None:
    """What of `deploy` is not replicas and memory."""
    for key, value in deploy.items():
        if key == "resources":
            for kind, limits in table(value).items():
                for name in table(limits):
                    if (kind, name) != ("limits", "memory"):
                        fix = _CPU if "cpu" in name else "nothing is reserved" if kind == "reservations" else _PRIVILEGE
                        what = f"deploy.resources.{kind}.{name} is not carried over"
                        told.left(what, fix, "deploy", "resources", kind, name)
        elif key in {"labels", "placement", "endpoint_mode", "mode"}:
            told.unneeded(f"deploy.{key}", "there is one machine")
        elif key in {"restart_policy", "update_config", "rollback_config"}:
            told.unneeded(f"deploy.{key}", "that is what `atoll deploy` and its supervision do")
        elif key != "replicas" and not key.startswith("x-"):
            told.left(f"deploy.{key} is not carried over", "see what it did, and do it for this machine", "deploy", key)


def beside(fields: Fields, left: list[Left], unneeded: list[Left]) -> None:
    """What stands beside the services."""
    fixes = {"secrets": "atoll secret set NAME", "configs": "render it with [files], or point the program at the file"}
    for key, value in fields.items():
        place = (fields.place(key),)
        if key in {"version", "name", "volumes"} or key.startswith("x-") or not value:
            continue
        if key == "networks":
            what = f"networks{_named(value)}: services meet through the proxy"
            unneeded.append(Left(service="", what=what, places=place))
        else:
            fix = fixes.get(key, "see what it did, and do it for this machine")
            left.append(Left(service="", what=f"{key}{_named(value)} are not carried over", fix=fix, places=place))


def _named(value: object) -> str:
    """The names that a field holds, in brackets."""
    if isinstance(value, dict):
        names = [str(each) for each in value]
    elif isinstance(value, list):
        names = [
            str(each.get("source") or each.get("target") or "?") if isinstance(each, dict) else str(each)
            for each in value
        ]
    else:
        names = []
    shown = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
    return f" ({shown})" if shown else ""
