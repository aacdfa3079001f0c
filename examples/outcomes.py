"""What the demo promised, phase by phase, beside what happened: the table at its end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from load import Phase


@dataclass
class Outcome:
    """One row of the table: what was promised for a phase, and what the demo saw besides the load's own counts."""

    phase: str
    promise: str
    keeps: Callable[[Phase], bool]
    seconds: float = 0.0
    touched: str = ""
    share: bool = False  # whether the failed ones are told as a share, too


def no_failure(phase: Phase) -> bool:
    return phase.sent > 0 and phase.failed == 0


def report(rows: list[tuple[Outcome, Phase]]) -> bool:
    """Print the table; whether every promise was kept."""
    table = Table(title="What was promised, and what happened", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for name in ("", "sent", "failed", "others touched", "seconds", "promise", "kept"):
        table.add_column(name, justify="right" if name in {"sent", "failed", "seconds"} else "left")
    kept = True
    for row, phase in rows:
        holds = row.keeps(phase)
        kept = kept and holds
        table.add_row(
            row.phase, str(phase.sent), _failed(row, phase), row.touched, f"{row.seconds:.2f}", row.promise,
            "[green]yes[/]" if holds else "[red]NO[/]",
        )  # fmt: skip
    Console(highlight=False, width=None if sys.stdout.isatty() else 160).print(table)
    for row, phase in rows:
        if phase.failures and not row.phase.startswith("control"):
            kinds = ", ".join(f"{count} x {kind}" for kind, count in phase.failures.most_common())
            print(f"{row.phase}: {kinds}, over {phase.failing_s:.2f} s")
    return kept


def _failed(row: Outcome, phase: Phase) -> str:
    return f"{100 * phase.failed / phase.sent:.2f} %, {phase.failed}" if row.share else str(phase.failed)
