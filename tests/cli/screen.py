"""What a person sees: a program in a terminal of a chosen size, kept by tmux, read line by line."""

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

SHOWN_S = 20.0


class Screen:
    """One program in a tmux of its own. `lines()` is the screen now; `type` and `press` are its keyboard; `until` waits for what is shown."""

    def __init__(
        self, command: Sequence[str], folder: Path, cwd: Path, env: Mapping[str, str], columns: int, rows: int
    ) -> None:
        folder = Path(tempfile.mkdtemp(prefix="screen-", dir=folder))
        self._socket = str(folder / "tmux")
        kept = {name: value for name, value in env.items() if name not in {"TMUX", "TMUX_PANE", "COLUMNS", "LINES"}}
        self._env = {**kept, "LANG": "C.UTF-8"}
        script = folder / "in-tmux"
        ended = folder / "ended"
        term = env.get("TERM") if env.get("TERM") == "dumb" else "tmux-256color"
        script.write_text(
            f"#!/bin/sh\ntrap : INT\nTERM={term}\n{shlex.join(command)}\necho $? > {shlex.quote(str(ended))}\nexec sleep 300\n"
        )
        script.chmod(0o755)
        self._ended = ended
        size = ("-x", str(columns), "-y", str(rows))
        self._tmux("new-session", "-d", *size, "-c", str(cwd), str(script))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._tmux("kill-server")

    def _tmux(self, *args: str) -> str:
        command = ["tmux", "-S", self._socket, "-f", os.devnull, *args]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout

    def lines(self) -> list[str]:
        """The screen without the blanks at the ends of its lines, and without empty lines at its end."""
        return self._tmux("capture-pane", "-p").rstrip().split("\n")

    def text(self) -> str:
        """The same as one text."""
        return "\n".join(self.lines())

    def type(self, text: str) -> None:
        """Type a text as it is."""
        self._tmux("send-keys", "-l", "--", text)

    def press(self, key: str) -> None:
        """A key by tmux's name for it: `Tab`, `C-c`."""
        self._tmux("send-keys", key)

    def resize(self, columns: int, rows: int) -> None:
        """As if the window was dragged."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def flag(self, name: str) -> bool:
        """One of tmux's flags of the pane: `cursor_flag`, `alternate_on`."""
        return self._tmux("display-message", "-p", f"#{{{name}}}").strip() == "1"

    def widest(self) -> int:
        """Columns of the longest line as it was printed, whether or not the terminal had to fold it."""
        return max(len(line.rstrip()) for line in self._tmux("capture-pane", "-p", "-J").splitlines())

    def styled(self) -> str:
        """The screen with its colours as escape sequences."""
        return self._tmux("capture-pane", "-p", "-e")

    def send_signal(self, number: int) -> None:
        """To the program itself."""
        shell = psutil.Process(int(self._tmux("display-message", "-p", "#{pane_pid}")))
        (program,) = shell.children()
        program.send_signal(number)

    def until(self, shown: Callable[[str], bool] | str) -> str:
        """Wait until the screen shows that; returns it."""
        deadline = time.monotonic() + SHOWN_S
        while True:
            text = self.text()
            if shown in text if isinstance(shown, str) else shown(text):
                return text
            assert time.monotonic() < deadline, f"not shown within {SHOWN_S:g} s: {shown}\n{text}"
            time.sleep(0.05)

    def ended(self) -> int:
        """Wait for the program's end; its exit code."""
        deadline = time.monotonic() + SHOWN_S
        while not self._ended.exists() or not self._ended.read_text().endswith("\n"):
            assert time.monotonic() < deadline, self.text()
            time.sleep(0.05)
        return int(self._ended.read_text())
