"""Which log lines a reader has already: what lets it begin again a little earlier, with none lost and none twice. Pure.

The daemon uses it between the lines that are there and those that follow, the command line over a new connection. Lines
of one replica come in the order in which they were printed; many may bear the same time.
"""

from typing import Protocol


class Line(Protocol):
    """What of a log line matters here."""

    @property
    def service(self) -> str: ...
    @property
    def replica(self) -> str: ...
    @property
    def wall(self) -> float: ...


class Seen:
    """Remembers the last line of each replica. `began_wall`: older lines of a service that showed none were not wanted."""

    def __init__(self, began_wall: float) -> None:
        self._began_wall = began_wall
        self._marks: dict[str, tuple[float, int]] = {}  # replica -> the newest time, and how many lines of that time
        self._oldest: dict[str, float] = {}  # service -> its first line's time; what is older was cut off by `tail`
        self._again: dict[str, int] | None = None  # replica -> lines of its newest time that will come once more

    @property
    def newest_wall(self) -> float:
        """The time of the newest line; `began_wall` without any."""
        return max((wall for wall, _ in self._marks.values()), default=self._began_wall)

    def begin_again(self) -> None:
        """From here on lines may come that came before."""
        self._again = {replica: count for replica, (_, count) in self._marks.items()}

    def is_new(self, line: Line) -> bool:
        """Whether it came for the first time; then it is remembered."""
        if self._again is not None and self._came_before(line, self._again):
            return False
        wall, count = self._marks.get(line.replica, (line.wall, 0))
        self._marks[line.replica] = (line.wall, count + 1 if line.wall == wall else 1)
        self._oldest.setdefault(line.service, line.wall)
        return True

    def _came_before(self, line: Line, again: dict[str, int]) -> bool:
        if line.replica not in self._marks:
            return line.wall < self._oldest.get(line.service, self._began_wall)
        if line.replica not in again:
            return False
        wall, _ = self._marks[line.replica]
        if line.wall == wall and again[line.replica] > 0:
            again[line.replica] -= 1
            return True
        if line.wall < wall:
            return True
        del again[line.replica]  # past it: all that follows is new, also when the clock is set back
        return False
