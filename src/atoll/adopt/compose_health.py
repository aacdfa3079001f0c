"""A Compose (or Dockerfile) health check as Atoll's: a path, `grpc`, `tcp`, or the command itself."""

import re
import shlex

from atoll.adopt.compose_ports import named
from atoll.adopt.compose_told import Told
from atoll.adopt.compose_values import duration, seconds, whole
from atoll.adopt.found import Found
from atoll.adopt.yaml_file import Fields
from atoll.model.templates import literal

_HERE = r"localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\]"
_PORT = r"(?::(?:(\d+)|\$\{?\w+\}?))?"
_PATH = r"(/[^\s\"'|;?#)]*)?"
# What does not belong to a check's own words: how long it may take, and how often it is asked.
_TIMES = ("interval", "timeout", "retries", "start_period", "start_interval")


def take(found: Found, name: str, raw: Fields, told: Told) -> None:
    """Carry a `healthcheck` over into the service, which its Compose file calls `name`."""
    test = raw.get("test")
    if raw.get("disable") == "true" or test in ("NONE", ["NONE"]):
        if found.health:
            told.unneeded("healthcheck", "it was switched off; readiness is whether the port answers")
        found.health, found.notes["health"] = "", ""
        return
    if test:
        probe(found, name, test, told)
    for key in _TIMES:
        text = raw.get(key)
        if text and (seconds(text) if key != "retries" else whole(text, 1, 100)) is None:
            told.left(f"healthcheck.{key} {text} is not understood", "see [health]", "healthcheck", key)
    for key in raw:
        if key not in {*_TIMES, "test", "disable"} and not key.startswith("x-"):
            told.left(f"healthcheck.{key} is not carried over", "see [health]", "healthcheck", key)
    if raw.get("start_interval"):
        told.unneeded("healthcheck", "start_interval: while it starts it is asked every 20 to 250 ms")
    if found.protocol == "none" and not found.probe:
        told.unneeded("healthcheck", "of a worker: alive is what counts")
        return
    _times(found, raw)


def _times(found: Found, raw: Fields) -> None:
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


def probe(found: Found, name: str, test: object, told: Told) -> None:
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
    if re.match(r"(?:pgrep|pidof|ps)\b", line.strip()):  # on a machine that is shared it would find others' processes
        told.unneeded("healthcheck", "it looked for its own process: alive is what counts without a check")
        return
    if found.protocol == "none":
        found.health = ""
    elif _asked(found, name, line, told):
        return
    if found.listens and found.protocol != "none":
        line = re.sub(rf"(?<!\d){found.listens}(?!\d)", "{port}", line)
        argv = [re.sub(rf"(?<!\d){found.listens}(?!\d)", "{port}", part) for part in argv]
    else:
        line, argv = literal(line), [literal(part) for part in argv]
    found.health, found.probe = "", argv if argv and all(part.strip() for part in argv) else line
    program = (argv or _split(line))[0]
    told.left(
        f"healthcheck runs `{program}` beside the service now, not in its image",
        f"see that {program} is on this machine",
        "healthcheck",
    )


def _asked(found: Found, name: str, line: str, told: Told) -> bool:
    """Whether a check is one that Atoll makes by itself: HTTP, gRPC or a connection. Also when it asks nobody here."""
    if "grpc_health_probe" in line or "grpc-health-probe" in line:
        found.health = "grpc" if found.protocol == "grpc" else "tcp"
        return True
    here = rf"(?:{_HERE}|{re.escape(name)})"
    url = re.search(rf"https?://{here}{_PORT}{_PATH}", line)
    if url is None and re.search(r"\b(?:curl|wget)\b", line):
        bare = list(re.finditer(rf"(?<![\w./-]){here}{_PORT}{_PATH}(?![\w-])", line))
        url = next((each for each in bare if each[1] or each[2]), bare[0] if bare else None)
    raw = re.search(
        rf"(?:/dev/tcp/{here}/(\d+)).*?GET (/\S*)", line, re.DOTALL
    )  # HTTP by hand, where an image has no curl
    asked = url or raw
    if asked:
        number = int(asked[1] or 0)
        port = named(found, number)
        if port is None:
            fix = "name the port in `ports`, then in [health]"
            told.left(f"healthcheck asks port {number}, not {found.listens}", fix, "healthcheck", "test")
            return True
        spoken = found.more_ports[port][0] if port else found.protocol
        if spoken == "http":
            found.health, found.health_port = asked[2] or "/", port
            return True
    elif re.search(r"\bnc\b.*\s-\w*z|/dev/tcp/", line):
        found.health = "tcp"
        return True
    return False


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line) or [line]
    except ValueError:
        return line.split() or [line]
