"""What a deploy did, shown: for a terminal, for a pull request (Markdown). The JSON is the operation itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from atoll.cli.output import counted, duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from atoll.model.state import Receipt
    from atoll.model.wire_operations import OperationView

SHORTEST_S = 0.005  # else it reads 0.00 s


def show(operation: OperationView, console: Console, here: Callable[[str], str] = str) -> None:
    """The receipt of an ended operation; `here` makes its commands work on this environment."""
    from rich.text import Text

    console.print(Text(headline(operation), "bold green" if operation.good else "bold red"))
    for label, text in _facts(operation):
        console.print(Text.assemble((f"  {label:<9}", "dim"), " ", here(text) if label == "undo" else text))
    if output := _output(operation):
        console.print(Text("  its last output:", "dim"))
        console.print(Text("\n".join(f"    {line}" for line in output.splitlines())))


def markdown(operation: OperationView) -> str:
    """The same for a pull request's comment or a CI summary."""
    lines = [f"### {'✅' if operation.good else '❌'} {headline(operation)}", "", "| | |", "|---|---|"]
    lines += [f"| {label} | {text.replace('|', chr(92) + '|')} |" for label, text in _facts(operation)]
    if output := _output(operation):
        lines += ["", "```text", output, "```"]
    return "\n".join(lines) + "\n"


def headline(operation: OperationView) -> str:
    """One sentence: what became of it."""
    release = f"{operation.service} {operation.release}".strip()
    match operation.phase:
        case "unchanged":
            return f"{release} already runs exactly this: nothing to do"
        case "undone" | "undoing":
            by_hand = operation.receipt is not None and operation.receipt.reason and not operation.receipt.reason_id
            return f"{release} was undone" if by_hand else f"{release} failed and was undone"
        case "superseded":
            return f"{release} was {'live, then replaced' if operation.good else 'stopped before it was live'}"
        case "live" | "certified":
            total = (
                f" in {duration(operation.receipt.seconds.get('total', operation.seconds))}"
                if operation.receipt
                else ""
            )
            return f"{release} is live{total}"
        case phase:
            return f"{release} is {phase}"


def _facts(operation: OperationView) -> list[tuple[str, str]]:
    receipt = operation.receipt
    if receipt is None:
        return [("text", operation.text)] if operation.text and operation.phase != "unchanged" else []
    facts = [("reason", receipt.reason)] if receipt.reason else []
    facts += [("explain", f"atoll explain {receipt.reason_id}")] if receipt.reason_id else []
    facts += [("warning", warning) for warning in operation.warnings]
    facts.append(("changed", "; ".join(receipt.changed) or _nothing(receipt)))
    facts.append(("time", _time(receipt)))
    facts.append(("requests", f"{counted(receipt.requests, 'request')} meanwhile, {receipt.failed} failed"))
    facts.append(
        ("others", f"touched: {', '.join(receipt.touched)}" if receipt.touched else "no other service touched")
    )
    if receipt.undo:
        facts.append(("undo", receipt.undo))
    return facts


def _nothing(receipt: Receipt) -> str:
    """Why a rollout may change nothing."""
    return "nothing: it was down" if receipt.previous is None else "nothing but the release's number"


def _time(receipt: Receipt) -> str:
    """The phases that lasted long enough to be seen, and their total."""
    shown = {phase: s for phase, s in receipt.seconds.items() if phase != "total" and s >= SHORTEST_S}
    phases = [f"{phase} {duration(seconds)}" for phase, seconds in shown.items()]
    total = receipt.seconds.get("total")
    return ", ".join([*phases, f"total {duration(total)}"] if total is not None else phases)


def _output(operation: OperationView) -> str:
    return (operation.receipt.output if operation.receipt else "") or operation.output
