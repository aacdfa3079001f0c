"""The fields of a Compose service that have no place in `service.toml`, each with what that means."""

from collections.abc import Mapping
from typing import Any

from atoll.adopt.found import Left
from atoll.adopt.tree import table

_CARRIED = frozenset(
    {
        "build",
        "command",
        "entrypoint",
        "ports",
        "expose",
        "environment",
        "env_file",
        "depends_on",
        "links",
        "healthcheck",
    }
    | {
        "volumes",
        "profiles",
        "scale",
        "mem_limit",
        "stop_signal",
        "stop_grace_period",
        "extends",
        "working_dir",
        "image",
    }
    | {"init", "tty", "stdin_open", "pull_policy", "platform", "attach"}  # of running images only
)
_NOT_NEEDED = {
    "networks": "services meet through the proxy",
    "network_mode": "services share this machine's network",
    "container_name": "the service's name is its name",
    "hostname": "the service's name is its name",
    "labels": "nobody reads them here",
    "logging": "`atoll logs` shows what it prints",
    "develop": "`atoll deploy` takes edits over",
    "restart": "",
}
_FIX = {
    "secrets": 'atoll secret set NAME, and a variable { secret = "NAME" }',
    "configs": "point the program at the file, by variable or argument",
    "user": "as root Atoll runs each service under a user of its own",
    "read_only": "artifacts are read-only",
    "cpus": "[limits] cpu_weight is the share when the CPU is short",
    "cpu_shares": "[limits] cpu_weight is the share when the CPU is short",
    "extra_hosts": "put them into /etc/hosts of this machine",
    "privileged": "give this machine's user what it needs",
    "cap_add": "give this machine's user what it needs",
    "tmpfs": "the service has {data} and the system's temporary folder",
}


def rest(service: str, raw: Mapping[str, Any]) -> list[Left]:
    """One line for each field that is not carried over."""
    left: list[Left] = []
    for key, value in raw.items():
        if key in _CARRIED or key.startswith("x-") or value in (None, "", [], {}):
            continue
        if key == "restart":
            if value == "no":
                left.append(
                    Left(
                        service=service,
                        what='restart: "no": Atoll restarts what ends',
                        fix="a job that ends is no service",
                    )
                )
        elif key == "deploy":
            left += _deploy(service, table(value))
        elif key == "ulimits":
            others = [name for name in table(value) if name != "nofile"]
            left += [Left(service=service, what=f"ulimits.{name} is not carried over") for name in others]
        elif key in _NOT_NEEDED:
            left.append(Left(service=service, what=f"{key} is not carried over: {_NOT_NEEDED[key]}"))
        else:
            left.append(Left(service=service, what=f"{key} is not carried over", fix=_FIX.get(key, "")))
    return left


def _deploy(service: str, deploy: Mapping[str, Any]) -> list[Left]:
    """What of `deploy` is not replicas and memory."""
    left: list[Left] = []
    for key, value in deploy.items():
        if key == "resources":
            limits = table(table(value).get("limits"))
            names = [f"limits.{name}" for name in limits if name != "memory"]
            names += ["reservations"] if table(value).get("reservations") else []
            left += [
                Left(
                    service=service,
                    what=f"deploy.resources.{name} is not carried over",
                    fix=_FIX["cpus"] if "cpu" in name else "",
                )
                for name in names
            ]
        elif key != "replicas":
            left.append(Left(service=service, what=f"deploy.{key} is not carried over"))
    return left
