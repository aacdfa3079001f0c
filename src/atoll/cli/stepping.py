"""How a deploy moves its traffic, drawn: its steps, and the candidate against the stable release. `rollout`, `why` and the
progress of a deploy show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atoll.cli.output import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from atoll.model.analysis import Finding, Verdict
    from atoll.model.wire_operations import OperationView, SteppingView

METRICS = {"failures": "failed", "latency": "slower than p90"}
_BAR = 24
STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "no data": "yellow", "error": "red"}


def line(view: SteppingView) -> str:
    """All of it in one line: `step 1 of 3, 10 %, inconclusive after 212 requests, about 48 s to a pass`."""
    parts = []
    if view.steps:
        parts += [f"step {view.step + 1} of {len(view.steps)}", f"{view.weight_pct} %"]
    if view.verdict is not None:
        parts.append(f"{view.verdict.outcome} after {view.verdict.requests} requests")
    if view.waits:
        parts.append(view.waits)
    elif view.verdict is not None and view.verdict.pass_in_s is not None:
        parts.append(f"about {duration(view.verdict.pass_in_s, 0)} to a pass")
    elif view.left_s is not None:
        parts.append(f"{duration(view.left_s, 0)} left")
    return ", ".join(parts)


def parts(operation: OperationView) -> Iterator[RenderableType]:
    """The whole of it, for a screen."""
    from rich.text import Text

    view = operation.stepping
    if view is None:
        return
    yield Text.assemble((f"{view.strategy}: ", "bold"), view.why)
    if view.steps:
        yield Text.assemble(*_steps(operation, view))
    for label, text in (("detects", view.detects), ("exposure", view.exposure)):
        if text and operation.phase in {"starting", "stepping"}:
            yield Text.assemble((f"  {label:<9}", "dim"), " ", text)
    if view.waits:
        yield Text(f"  {view.waits}", "yellow")
    elif view.left_s is not None:
        yield Text.assemble((f"  {'left':<9}", "dim"), " ", _left(operation, view))
    if view.kept:
        yield Text("  kept: a failing verdict does not undo it", "yellow")
    if view.verdict is not None:
        yield from verdict(view.verdict)


def verdict(said: Verdict) -> Iterator[RenderableType]:
    """A verdict with its findings: what was counted on both sides, and how likely chance alone is."""
    from rich.table import Table
    from rich.text import Text

    if 0.0 < said.progress < 1.0 and said.outcome in {"no data", "inconclusive"}:
        yield Text.assemble((f"  {'evidence':<9}", "dim"), " ", *_bar(said.progress))
    yield Text.assemble(
        (f"  {'verdict':<9} ", "dim"), (said.outcome, STYLES[said.outcome]), f": {said.text}" if said.text else ""
    )
    if not said.findings:
        return
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False, header_style="dim")
    for name, right in (("  metric", False), ("candidate", True), ("stable", True), ("by chance", True), ("", False)):
        rows.add_column(name, justify="right" if right else "left")
    for finding in said.findings:
        mine, other = _share(finding.bad, finding.total), _share(finding.other_bad, finding.other_total)
        outcome = Text(finding.outcome, STYLES[finding.outcome])
        rows.add_row(f"  {_metric(finding.metric)}", mine, other, _chance(finding), outcome)
    yield rows


def _steps(operation: OperationView, view: SteppingView) -> Iterator[str | tuple[str, str]]:
    """`  10 % ✓  50 % ●  100 %`."""
    over = operation.phase in {"shifting", "draining", "live", "certified"}
    for index, step in enumerate(view.steps):
        name = f"  {step.header or f'{step.weight_pct} %'}"
        if over or index < view.step:
            yield (f"{name} ✓", "green")
        elif index == view.step and operation.phase == "stepping":
            yield (f"{name} ●", "bold cyan")
        else:
            yield (name, "dim")


def _left(operation: OperationView, view: SteppingView) -> str:
    """How long it may still take: what the evidence so far makes one expect, and the deadline."""
    left = duration(view.left_s or 0.0, 0)
    if operation.phase == "live":
        return f"{left} of the bake"
    step = view.steps[view.step] if view.steps else None
    if step is None or not step.judged:
        return f"{left} of this step"
    expected_s = view.verdict.pass_in_s if view.verdict else None
    expected = f"about {duration(expected_s, 0)} to a pass if all is well; " if expected_s is not None else ""
    return f"{expected}{left} to this step's deadline"


def _bar(share: float) -> Iterator[str | tuple[str, str]]:
    """`━━━━━━──────────────  32 % of what a pass takes`."""
    full = round(_BAR * share)
    yield ("━" * full, "cyan")
    yield ("─" * (_BAR - full), "dim")
    yield f"  {100 * share:.0f} % of what a pass takes"


def _metric(name: str) -> str:
    """For people: `failed, called by web`."""
    metric, _, edge = name.partition(" ")
    return METRICS.get(metric, metric) + (f", called by {edge}" if edge and metric in METRICS else f" {edge}".rstrip())


def _share(bad: int, total: int) -> str:
    return f"{100 * bad / total:.2f} % of {total}" if total else "-"


def _chance(finding: Finding) -> str:
    """How often a release that is no worse would look so bad, against what convicts."""
    return "-" if finding.chance >= 1 else f"{100 * finding.chance:.2g} % (≤ {100 * finding.alpha:.2g} %)"
