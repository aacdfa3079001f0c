"""Tells of one task where it is, line by line of its output, as often as a terminal can show. Called by `making`."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from atoll.pipeline.progress import Phase, Progress

T = TypeVar("T")

LINE_EVERY_S = 0.1  # a terminal shows no more


class Teller:
    """What is told of the task `task` of `service`; `began` is when the call did, by time.monotonic()."""

    def __init__(self, service: str, task: str, on_progress: Callable[[Progress], None], began: float) -> None:
        self._now = Progress(service=service, task=task, phase="hashing")
        self._on_progress, self._began = on_progress, began
        self._line = ""
        self._line_due: asyncio.TimerHandle | None = None

    def tell(
        self,
        phase: Phase,
        result: T = None,  # type: ignore[assignment]
        *,
        step: int = 0,
        steps: int = 0,
        label: str = "",
        took_s: float = 0.0,
        attempts: int = 1,
    ) -> T:
        """Say where it is; returns `result`."""
        if self._line_due is not None:
            self._line_due.cancel()
            self._line_due = None
        self._show(phase=phase, step=step, steps=steps, label=label, took_s=took_s, attempts=attempts, line="")
        return result

    def line(self, text: str) -> None:
        """Show a line of output: soon, and not too often; the newest one then."""
        self._line = text
        if self._line_due is None:
            self._line_due = asyncio.get_running_loop().call_later(LINE_EVERY_S, self._show_line)

    def _show_line(self) -> None:
        self._line_due = None
        self._show(line=self._line)

    def _show(self, **news: object) -> None:
        self._now = msgspec.structs.replace(self._now, seconds=time.monotonic() - self._began, **news)
        self._on_progress(self._now)
