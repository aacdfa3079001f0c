"""What the keeper knows of one process that a shim owns. Plain data; `server` changes it."""

from atoll.keeper.wire import Message, Wire

Waiter = tuple[Wire, object]  # a client and the `n` of its request


class Held:
    """One process that a shim owns, as the keeper knows it."""

    def __init__(self, record: Message, link: Wire | None) -> None:
        self.record = record
        self.link = link  # None: its shim has ended
        self.ready = False  # its shim has said how the start went
        self.waiters: list[Waiter] = []
        self.asked: dict[int, Waiter] = {}
        self.forget_after: list[Waiter] = []
        self.dropped = False  # forget it when it ends
        self.output = ""

    @property
    def id(self) -> str:
        return str(self.record["id"])

    @property
    def kind(self) -> str:
        return str(self.record["kind"])

    @property
    def running(self) -> bool:
        return self.record["exit"] is None
