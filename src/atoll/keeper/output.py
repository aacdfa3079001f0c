"""What a shim reads from its child's two pipes, and where that goes. Never blocks, never fails."""

import fcntl
import os
import selectors

from atoll.keeper.linelog import LineLog

CAPTURE_BYTES = 1024 * 1024
READ_BYTES = 65536


class Capture:
    """Takes the place of a log for `run`: the first MiB of the output, both streams as they came."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, _stream: str, chunk: bytes) -> None:
        """Keep what fits; the rest is read all the same, so that nobody waits."""
        self.data += chunk[: CAPTURE_BYTES - len(self.data)]

    def finish(self) -> None:
        """Nothing is held back."""


class Output:
    """Two pipes in the shim's selector (their keys' data is "o" or "e") and the sink that they run into."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.sink: LineLog | Capture = Capture()
        self._selector = selector

    def attach(self, stdout: int, stderr: int) -> None:
        """Begin to read."""
        for stream, fd in (("o", stdout), ("e", stderr)):
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ, stream)

    def read(self, fd: int, stream: str) -> None:
        """One piece of what is there; at its end the pipe is closed."""
        try:
            data = os.read(fd, READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.sink.write(stream, data)
        else:
            self._selector.unregister(fd)
            os.close(fd)

    def finish(self) -> None:
        """All that is left in the pipes; whoever could write to them has ended (or fled with a passed descriptor)."""
        for key in list(self._selector.get_map().values()):
            if key.data in {"o", "e"}:
                for _ in range(0, fcntl.fcntl(key.fd, fcntl.F_GETPIPE_SZ) + 1, 4096):
                    if key.fd not in self._selector.get_map():
                        break
                    self.read(key.fd, key.data)
        self.sink.finish()
