"""A Compose (or Dockerfile) health check as Atoll's: a path, `grpc`, `tcp`, or the command itself."""

import re
import shlex
from collections.abc import Mapping
from typing import Any

from atoll.adopt.compose_values import duration, seconds, whole
from atoll.adopt.found import Found
from atoll.model.templates import literal

_URL = re.compile(r"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1\])(?::(?:(\d+)|\$\{?\w+\}?))?(/[^\s\"'|;?#]*)?")


def take(found: Found, raw: Mapping[str, Any], left: Any) -> None:
    """Carry a `healthcheck` over into the service. `left(what, fix)` is told what cannot be."""
    test = raw.get("test")
    if raw.get("disable") == "true" or test in ("NONE", ["NONE"]):
        found.health, found.notes["health"] = "", ""
        return
    if test:
        probe(found, test, left)
    fields: dict[str, str | int] = {}
    if (interval := seconds(raw.get("interval"))) is not None:
        fields["interval"] = duration(min(max(interval, 0.1), 600))
    if (retries := whole(raw.get("retries"), 1, 100)) is not None:
        fields["failures"] = retries
    start = seconds(raw.get("start_period"))
    if start is not None and start > 0:
        patience = start + (seconds(raw.get("interval")) or 30) * (retries or 3)
        fields["start_budget"] = duration(min(max(round(patience), 30), 3600))
    if (timeout := seconds(raw.get("timeout"))) is not None and (found.health or found.probe):
        found.probe_timeout = duration(min(max(timeout, 0.01), 300))
    found.health_fields |= fields


def probe(found: Found, test: object, left: Any) -> None:
    """What is asked."""
    line, argv = "", list[str]()
    if isinstance(test, list) and all(isinstance(part, str) for part in test):
        argv = test[1:] if test[:1] in (["CMD"], ["CMD-SHELL"]) else test
        line = " ".join(argv)
        argv = [] if test[:1] == ["CMD-SHELL"] else argv
    elif isinstance(test, str):
        line = test
    if not line.strip():
        return
    found.notes["health"], found.probe = "", ""
    if found.protocol == "none":
        found.health = ""
    elif "grpc_health_probe" in line or "grpc-health-probe" in line:
        found.health = "grpc" if found.protocol == "grpc" else "tcp"
        return
    elif url := _URL.search(line):
        if url[1] and found.listens and int(url[1]) != found.listens:
            left(f"healthcheck asks port {url[1]}, not {found.listens}", "name the port in `ports`, then in [health]")
            return
        if found.protocol == "http":
            found.health = (url[2] or "/").rstrip(")") or "/"
            return
    elif re.search(r"\bnc\b.*\s-\w*z|/dev/tcp/", line):
        found.health = "tcp"
        return
    if found.listens and found.protocol != "none":
        line = re.sub(rf"(?<!\d){found.listens}(?!\d)", "{port}", line)
        argv = [re.sub(rf"(?<!\d){found.listens}(?!\d)", "{port}", part) for part in argv]
    else:
        line, argv = literal(line), [literal(part) for part in argv]
    found.health, found.probe = "", argv if argv and all(part.strip() for part in argv) else line
    program = (argv or _split(line))[0]
    left(
        f"healthcheck runs `{program}` beside the service now, not in its image",
        f"see that {program} is on this machine",
    )


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line) or [line]
    except ValueError:
        return line.split() or [line]
