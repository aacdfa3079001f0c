"""How things look on a terminal: tables, times, sizes, JSON. No command formats these by itself."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rich.console import Console, RenderableType
    from rich.table import Table

_GAP = 2  # columns between two cells
_LEGIBLE = 8  # a text that is cut to less says nothing
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # not tabs and line breaks
PIPE_WIDTH = 200  # columns when nobody's terminal limits it: a pipe gets whole cells


def colored(stream: IO[str]) -> bool:
    """Whether to use colours on a stream.

    NO_COLOR says no (no-color.org), then FORCE_COLOR and CLICOLOR_FORCE say yes (force-color.org, bixense.com/clicolors);
    else a terminal that can.
    """
    if os.environ.get("NO_COLOR"):
        return False
    if any(os.environ.get(name, "0") not in {"", "0"} for name in ("FORCE_COLOR", "CLICOLOR_FORCE")):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Columns of the terminal on stdout. shutil's answer would cost its import, longer than all of our own."""
    try:
        found = int(os.environ.get("COLUMNS") or os.get_terminal_size(sys.stdout.fileno()).columns)
    except (OSError, ValueError):
        found = 0
    return found or 80  # a terminal that was never told its size says 0


def console(stream: IO[str] | None = None) -> Console:
    """A rich console on stdout (or `stream`): our word on colours, and what goes into a pipe is not folded."""
    from rich.console import Console

    file = stream or sys.stdout
    tty, color = file.isatty(), colored(file)
    return Console(
        file=file,
        width=None if tty else PIPE_WIDTH,
        force_terminal=tty,  # rich would take FORCE_COLOR for a terminal, and draw spinners into a file
        color_system=("auto" if tty else "standard") if color else None,
        highlight=False,
        soft_wrap=not tty,
        legacy_windows=False,
    )


@contextmanager
def live_table(
    rows: Callable[[], Iterable[Sequence[RenderableType]]], below: Callable[[], Iterable[RenderableType]] = tuple
) -> Iterator[Console]:
    """A table on stderr, drawn anew several times a second and gone at the end; no row takes more than one line.

    Cells stand in the order of their importance: the first ones are shown whole, the one that does not fit is cut, and
    those behind it are left out. `below` stands under the table. Both are called from a thread of their own. What is
    printed to the yielded console appears above.
    """
    from rich.console import Group
    from rich.constrain import Constrain
    from rich.live import Live
    from rich.table import Table

    started: dict[int, RenderableType] = {}  # a spinner turns only when it is the same one at each drawing
    out = console(sys.stderr)

    def drawn() -> Group:
        cells = [tuple(row) for row in rows()]
        wide = out.width - len("^C") - 1  # its echo must not fold a line: the table would stay
        fit = _whole(cells, wide)
        made = Table.grid(padding=(0, _GAP, 0, 0), pad_edge=False)
        for width in fit:
            made.add_column(no_wrap=True, overflow="ellipsis", min_width=width, max_width=width)
        for number, row in enumerate(cells):
            first = row[0] if isinstance(row[0], str) else started.setdefault(number, row[0])
            made.add_row(first, *row[1 : len(fit)])
        return Group(made, *(Constrain(part, wide) for part in below()))

    with Live(get_renderable=drawn, console=out, refresh_per_second=8, transient=True):
        yield out


def _whole(cells: Sequence[Sequence[RenderableType]], columns: int) -> list[int]:
    """The widths of the first cells, as far as they fit into so many columns."""
    from rich.text import Text

    fit: list[int] = []
    left = columns
    for column in zip(*cells, strict=True):
        wide = max(Text.from_markup(cell).cell_len if isinstance(cell, str) else 1 for cell in column)
        if wide > left:
            return [*fit, left] if left >= _LEGIBLE else fit
        fit.append(wide)
        left -= wide + _GAP
    return fit


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, fold: bool = False, spare: Sequence[str] = ()
) -> Table:
    """A borderless table; a column whose name begins with `>` is set right. Cells may hold rich markup.

    A column in which nothing stands is left out. On a narrow terminal those of `spare` are left out, the first one
    first, until the others fit; else the first column is shown whole and the others are cut. With `fold` the last one
    goes on in the next line.
    """
    from rich.table import Table
    from rich.text import Text

    cells = list(rows)
    if cells:
        kept = [number for number in range(len(columns)) if any(row[number] not in {"", "-"} for row in cells)]
        if spare:
            kept = _fitting(columns, cells, kept, spare, console().width)
        columns = [columns[number] for number in kept]
        cells = [[row[number] for number in kept] for row in cells]
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, _GAP, 0, 0))
    for number, column in enumerate(columns):
        made.add_column(
            column.removeprefix(">"),
            justify="right" if column.startswith(">") else "left",
            no_wrap=not fold or number < len(columns) - 1,
            overflow="fold" if fold and number == len(columns) - 1 else "ellipsis",
            min_width=max((Text.from_markup(row[0]).cell_len for row in cells), default=0) if number == 0 else None,
        )
    for row in cells:
        made.add_row(*row)
    return made


def _fitting(
    columns: Sequence[str], cells: Sequence[Sequence[str]], kept: Sequence[int], spare: Sequence[str], width: int
) -> list[int]:
    """Those of the columns `kept` that fit into `width` when those of `spare` go, one by one."""
    from rich.text import Text

    wide = {
        number: max(len(columns[number].removeprefix(">")), *(Text.from_markup(row[number]).cell_len for row in cells))
        for number in kept
    }
    fit = list(kept)
    for name in spare:
        if sum(wide[number] + _GAP for number in fit) - _GAP <= width:
            break
        fit = [number for number in fit if columns[number].removeprefix(">") != name]
    return fit


def print_screen(what: RenderableType, *, wrap: bool = False) -> None:
    """Print a table or a screen on stdout; into a pipe without the blanks that fill its lines, whole unless `wrap`."""
    out = console()
    if out.is_terminal:
        out.print(what)
        return
    with out.capture() as captured:
        out.print(what, soft_wrap=not wrap)
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def escape(text: str) -> str:
    """Text that rich must not take for markup, nor the terminal for a command."""
    from rich.markup import escape as escaped

    return escaped(told(text))


def told(text: str) -> str:
    """Text of somebody else's, a reason or a service's last words, as far as it is text: a terminal does what controls say."""
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def print_json(value: Any) -> None:
    """One JSON document on stdout. Bytes are JSON already; msgspec's structs are encoded."""
    import json

    if not isinstance(value, bytes):
        import msgspec

        value = msgspec.json.encode(value)
    print(json.dumps(json.loads(value), indent=2, ensure_ascii=False), flush=True)


def print_line(data: bytes) -> None:
    """One JSON document in one line on stdout, for streams."""
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()


def duration(seconds: float, digits: int = 2) -> str:
    """`0.42 s`, `12.3 s`, `5 min`, `3 h`, `2 d`. `digits` 0 is for what is only about so long: `12 s`."""
    if seconds < 120:
        return f"{seconds:.{min(digits, 2 if seconds < 10 else 1)}f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172800 else f"{seconds / 86400:.0f} d"


def age(wall: float) -> str:
    """How long ago that was, in whole units; "" when it never was."""
    seconds = max(0.0, time.time() - wall)
    return "" if not wall else duration(seconds, 0)


def clock(wall: float) -> str:
    """Local time: of day, with the date when it was not today."""
    then = time.localtime(wall)
    today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", then)


def size(count: int | None) -> str:
    """Bytes for people, in KiB, MiB or GiB."""
    if count is None:
        return ""
    if 0 < count < 2**20:
        return f"{count / 2**10:.0f} KiB"
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"


def counted(count: int, noun: str) -> str:
    """`1 request`, `2 requests`, `2 libraries`."""
    if count != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{count:,} {noun}".replace(",", " ")
