"""What each command's `--json` prints, as types: the source of `atoll schema --output`, docs/json.md and their tests.

Most are the API's own views; those that the command line makes by itself stand here. Every member is always there,
unless its type leaves out defaults. `cli.json_page` writes the page.
"""

from __future__ import annotations

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import inspect as types

from atoll.adopt.found import Left
from atoll.cli.dev.told import DevEvent
from atoll.decide.graph import Graph
from atoll.model.cache import CacheChecked, CacheSwept, CacheView
from atoll.model.catalogue.page import Page
from atoll.model.errors import Problem
from atoll.model.hosted import LogLine
from atoll.model.install import InstallView
from atoll.model.records import CiPlan, CiResult, TaskRecord
from atoll.model.state import Event
from atoll.model.wire import (
    ErrorView,
    ExecView,
    FaultView,
    PlanView,
    RecordsView,
    ReleaseView,
    ServiceView,
    StatusView,
    WhyView,
)
from atoll.model.wire_access import AccessView, SecretView, TokenMade
from atoll.model.wire_backup import RestoreView
from atoll.model.wire_doctor import DoctorView, ToolchainHome, ToolchainView
from atoll.model.wire_jobs import JobRunView, JobView
from atoll.model.wire_operations import OperationView
from atoll.model.wire_signals import SignalsView
from atoll.pipeline.explain import TaskWhy

if TYPE_CHECKING:
    from collections.abc import Iterator

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class CheckOutput(msgspec.Struct, frozen=True, kw_only=True):
    """The workspace's files, judged. `problems` has warnings, too."""

    ok: bool  # whether nothing stands in the way
    workspace: str = ""  # its name; "" when a file has a mistake
    services: tuple[str, ...] = ()  # their names; none when a file has a mistake
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()  # what the environment's engine does not keep services from


class InitOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What was written, or would be."""

    ok: bool = True  # false: together the files would have problems, and nothing was written
    plan: bool = False  # nothing was written because that was asked for
    files: Mapping[str, str] = {}  # path -> the text that was written
    kept: tuple[str, ...] = ()  # paths that were there already, and were left alone
    left: tuple[Left, ...] = ()  # what a person has to look at
    unneeded: tuple[Left, ...] = ()  # what was there and has no meaning here
    problems: tuple[Problem, ...] = ()
    next: str = "atoll up"  # the command to go on with


class EjectOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What was written, or would be."""

    plan: bool = False  # nothing was written because that was asked for
    to: str = "ejected"  # the folder
    files: tuple[str, ...] = ()  # paths in it
    left: Mapping[str, tuple[str, ...]] = {}  # service -> what is not carried over, in sentences


class AffectedTask(msgspec.Struct, frozen=True):
    """A task whose key is not the last one that passed."""

    task: str  # "build", "test"
    key: str  # of the files as they are; "" when it cannot be told, and with --since
    passed: str  # the key that passed last; "" when none did, and with --since
    why: tuple[str, ...]  # what changed, a short sentence each


class AffectedOutput(msgspec.Struct, frozen=True, kw_only=True):
    """A service, and what of it is affected."""

    service: str
    affected: bool  # false only with --all
    tasks: tuple[AffectedTask, ...] = ()


class BackupOutput(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that is kept."""

    file: str  # absolute
    id: str
    made_wall: float
    size_bytes: int
    releases: int
    artifacts: int
    left: tuple[str, ...]  # sentences: what is not in it
    removed: tuple[str, ...]  # older ones, by --keep


class KeyOutput(msgspec.Struct, frozen=True, kw_only=True):
    """A key file that was written."""

    file: str  # absolute


class RemovedOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What is gone."""

    name: str


class StoreOutput(msgspec.Struct, frozen=True, kw_only=True):
    """A store that Atoll runs, of the files or of the environment."""

    name: str
    type: str  # "postgres"
    state: str  # as that of a service; "absent" when it was never started, or was removed
    release: str = ""  # "r2"; "" when it is absent
    reason: str = ""  # why it is not up
    since_wall: float = 0.0  # since when that release runs
    memory_bytes: int | None = None
    declared: bool = True  # false: no file names it any more, and its data are still there
    edited: bool = False  # it runs as something else than its files say
    used_by: tuple[str, ...] = ()  # services, by the files
    secret: str = ""  # the name of its password in the vault


class StorePlanOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What would come of removing a store."""

    name: str
    what: str  # in a sentence
    refused_by: tuple[str, ...] = ()  # services that run and use it


class SecretPlanOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What would come of setting or removing a secret."""

    name: str
    what: str  # in a sentence
    used_by: Mapping[str, int] = {}  # service -> the version that it runs with


class TokenPlanOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What would come of making or revoking a token."""

    name: str
    what: str  # in a sentence


class UpOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What `up` began and how it ended, and what it left alone."""

    operations: tuple[OperationView, ...] = ()
    unchanged: tuple[str, ...] = ()  # services that run, and whose files say the same
    edited: tuple[str, ...] = ()  # services that run, and whose files say something else
    failures: Mapping[str, ErrorView] = {}  # service -> why it was not deployed


class VersionOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What runs here."""

    version: str  # of Atoll
    python: str
    system: str


class Output(NamedTuple):
    """One shape. `stream`: one a line, for as long as it goes on."""

    type: Any
    text: str
    stream: bool = False


_OPERATIONS = Output(list[OperationView], "The rollouts that it began, in the order of the command line.")
OUTPUTS: Mapping[str, Output] = {
    "init": Output(InitOutput, "What was written, kept and left; with --plan what would be."),
    "check": Output(CheckOutput, "Also when there are problems; the exit code is 2 then."),
    "ci": Output(CiResult, "Each task that was looked after; also when some failed, the exit code is 3 then."),
    "ci-plan": Output(CiPlan, "`ci` with --plan."),
    "up": Output(UpOutput, "Also when some services failed; the exit code is the first failure's."),
    "deploy": _OPERATIONS,
    "rollback": _OPERATIONS,
    "fault": Output(FaultView | list[FaultView], "The fault; without SERVICE, or with --clear, a list of them."),
    "backup": Output(BackupOutput, "The file, and what is not in it."),
    "backup-key": Output(KeyOutput, "`backup` with --key."),
    "restore": Output(RestoreView, "What is in it; with --check and --plan nothing was restored."),
    "rollout-show": Output(OperationView, "The newest rollout of the service."),
    **{
        f"rollout-{word}": Output(OperationView, "The rollout with that word taken.")
        for word in ("pause", "resume", "promote", "abort", "keep", "retry")
    },
    "restart": _OPERATIONS,
    "scale": Output(ServiceView, "The service when its replicas are ready; with --detach as it was at once."),
    "down": Output(list[ServiceView], "Each SERVICE that was named; empty when the whole environment was stopped."),
    "status": Output(StatusView, "The environment; with --watch one a line, each second."),
    "top": Output(SignalsView, "Golden signals; without --once one a line, each second."),
    "jobs": Output(list[JobView], "Each job; one alone comes with its runs."),
    "run": Output(JobRunView, "How the run ended; with --detach as it was at once."),
    "dev": Output(DevEvent, "What happened, edit by edit.", stream=True),
    "logs": Output(LogLine, "What replicas printed.", stream=True),
    "events": Output(Event, "The ledger.", stream=True),
    "releases": Output(list[ReleaseView], "Newest first."),
    "graph": Output(Graph, "From the files; with SERVICE what has to do with it."),
    "affected": Output(list[AffectedOutput], "Each affected service; with --all every service. Needs no daemon."),
    "why": Output(WhyView, "One service or release."),
    "why-task": Output(TaskWhy, "One task (`atoll why orders.test`)."),
    "explain": Output(list[Page], "The page of ID, or all of them. Needs no workspace."),
    "doctor": Output(list[DoctorView], "Each check; the exit code is 1 when one is bad."),
    "exec": Output(ExecView, "How the command ended; the exit code is the command's own."),
    "records-list": Output(list[TaskRecord], "Of this machine, or with --held of the environment; newest first."),
    "records-import": Output(RecordsView, "What became of them; with --plan what would."),
    "secret-set": Output(SecretView, "The version that was stored."),
    "secret-plan": Output(SecretPlanOutput, "`secret set` and `secret rm` with --plan; no value is read."),
    "secret-rm": Output(RemovedOutput, "The secret that was removed."),
    "secret-list": Output(list[SecretView], "Names and versions, never values."),
    "store-list": Output(list[StoreOutput], "Of the files and of the environment."),
    "store-status": Output(StoreOutput, "One of them."),
    "store-apply": _OPERATIONS,
    "store-plan": Output(StorePlanOutput, "`store remove` with --plan."),
    "store-remove": Output(RemovedOutput, "The store that was erased."),
    "access": Output(AccessView, "Who may do what, and who asks."),
    "access-token": Output(TokenMade, "The token, for the only time."),
    "access-plan": Output(TokenPlanOutput, "`access token` and `access revoke` with --plan."),
    "access-revoke": Output(RemovedOutput, "The token that opens nothing any more."),
    "cache": Output(CacheView, "Of this machine; a remote one is not counted."),
    "cache-gc": Output(CacheSwept, "What was removed; with --plan what would be."),
    "cache-verify": Output(CacheChecked, "The exit code is 1 when something was damaged."),
    "toolchain-list": Output(list[ToolchainView], "One a language."),
    "toolchain-install": Output(ToolchainHome, "The one that was fetched, or that was there and fits."),
    "toolchain-remove": Output(list[ToolchainHome], "Those that are gone now."),
    "install": Output(InstallView, "What was written and run; with --plan what would be."),
    "uninstall": Output(InstallView, "What was removed and run; with --plan what would be."),
    "eject": Output(EjectOutput, "What was written and what is not carried over; with --plan what would be."),
    "version": Output(VersionOutput, "Needs no workspace."),
    "plan": Output(list[PlanView], "Every other command with --plan, instead of its own."),
    "error": Output(ErrorView, "Every command that fails as a whole, instead of its own; in one line."),
}


def schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of one shape. Raises KeyError."""
    output = OUTPUTS[name]
    (shape,), components = msgspec.json.schema_components([output.type], ref_template="#/$defs/{name}")
    known = structs(output.type)
    for key, component in components.items():
        _always_there(component, known[key])
    title = {
        "plan": "atoll COMMAND --plan --json",
        "access-plan": "atoll access COMMAND --plan --json",
        "backup-key": "atoll backup --key FILE --json",
        "secret-plan": "atoll secret COMMAND --plan --json",
        "store-plan": "atoll store remove --plan --json",
        "why-task": "atoll why TASK --json",
        "error": "atoll COMMAND --json",
    }
    line = " One a line." if output.stream else ""
    return {
        "$schema": DIALECT,
        "title": title.get(name, f"atoll {name.replace('-', ' ')} --json"),
        "description": output.text + line,
        **shape,
        "$defs": components,
    }


def _always_there(component: dict[str, Any], kind: type[msgspec.Struct]) -> None:
    """Of what is printed: which members a reader may count on, and what each means."""
    notes = comments(kind)
    for name, member in component.get("properties", {}).items():
        if not kind.__struct_config__.omit_defaults:
            member.pop("default", None)
        if name in notes:
            member["description"] = notes[name]
    if not kind.__struct_config__.omit_defaults:
        component["required"] = list(component.get("properties", {}))


@cache
def comments(kind: type[msgspec.Struct]) -> Mapping[str, str]:
    """What the source says behind each member."""
    source = textwrap.dedent(inspect.getsource(kind))
    (tree,) = ast.parse(source).body
    assert isinstance(tree, ast.ClassDef)
    lines = {
        node.end_lineno: node.target.id
        for node in tree.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    return {
        lines[token.start[0]]: token.string.removeprefix("#").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and token.start[0] in lines
    }


def structs(kind: Any) -> dict[str, type[msgspec.Struct]]:
    """Every struct within a type, by name."""
    found: dict[str, type[msgspec.Struct]] = {}
    for each in _within(types.type_info(kind), set()):
        found[each.__name__] = each
    return found


def _within(info: Any, seen: set[Any]) -> Iterator[type[msgspec.Struct]]:
    if isinstance(info, types.StructType):
        if info.cls in seen:
            return
        seen.add(info.cls)
        yield info.cls
        inner = [field.type for field in info.fields]
    elif isinstance(info, types.UnionType):
        inner = list(info.types)
    else:
        inner = [part for name in ("item_type", "value_type") if (part := getattr(info, name, None)) is not None]
    for part in inner:
        yield from _within(part, seen)
