"""The machine's journal, for a served environment: what the daemon logs, and the ledger as it grows, a line an event.

Each happening stands there once: the daemon's log has a line for many an event, too, and those are left out here.

By journald's own protocol, so that fields can be asked for: `journalctl -u atoll-shop-production`,
`journalctl ATOLL_SERVICE=orders`. The journal tells and never holds up: a line that it does not take at once is dropped, and
what happened is in the ledger anyway. See systemd.journal-fields(7) and https://systemd.io/JOURNAL_NATIVE_PROTOCOL.
"""

import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

from atoll.model.state import Event

SOCKET = Path("/run/systemd/journal/socket")
_MOST_BYTES = 16 * 2**10  # a datagram fits in the socket's buffer; longer ones would need a sealed file
_INFO, _WARNING = 6, 4
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, _WARNING), (logging.INFO, _INFO))
_LEDGER = "atoll.ledger"  # the logger of `realise.records`
_BAD = ("failed", "crash", "undo", "refused", "lost", "exited", "expiring")  # in an event's kind


class Journal(logging.Handler):
    """Also the handler of the daemon's log. `fields` are on every line."""

    def __init__(self, fields: Mapping[str, str], path: Path = SOCKET) -> None:
        super().__init__()
        self._fields = fields
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._path = str(path)
        self.told = 0  # the last event that was
        self.addFilter(lambda record: record.name != _LEDGER)

    def emit(self, record: logging.LogRecord) -> None:
        """One line of the log."""
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        self.tell(priority, self.format(record), {"CODE_FUNC": record.funcName or "", "LOGGER": record.name})

    async def follow(self, events: AsyncIterator[Event]) -> None:
        """Tell of each event, to their end."""
        async for event in events:
            self.event(event)

    def event(self, event: Event) -> None:
        """One line of the ledger."""
        self.tell(_priority(event), _text(event), _of(event))
        self.told = event.seq

    def tell(self, priority: int, message: str, fields: Mapping[str, str]) -> None:
        """One line of `priority` (syslog's, 0 to 7)."""
        entry = {"PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "atoll", **self._fields, **fields, "MESSAGE": message}
        with suppress(OSError):
            self._socket.sendto(b"".join(_field(name, text) for name, text in entry.items() if text), self._path)

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
        super().close()


def _field(name: str, text: str) -> bytes:
    """Text with line breaks is preceded by its length."""
    value = text.encode("utf-8", "replace")[:_MOST_BYTES]
    if b"\n" in value:
        return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


def _priority(event: Event) -> int:
    return _WARNING if any(word in event.kind for word in _BAD) else _INFO


def _text(event: Event) -> str:
    of = f"{event.service} r{event.release}" if event.release is not None else event.service
    return " ".join(part for part in (event.kind, of) if part) + (f": {event.message}" if event.message else "")


def _of(event: Event) -> Mapping[str, str]:
    return {
        "ATOLL_EVENT": event.kind,
        "ATOLL_SERVICE": event.service,
        "ATOLL_RELEASE": "" if event.release is None else str(event.release),
        "ATOLL_ACTOR": event.author.actor,
        "ATOLL_SEQ": str(event.seq),
    }
