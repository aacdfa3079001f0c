"""What a machine is like, as its kernel says. Pure data: `app.kernel` reads it, `decide.production` judges it."""

import msgspec


class Used(msgspec.Struct, frozen=True, kw_only=True):
    """How much of something is in use, of how much there is at most."""

    used: int
    most: int

    @property
    def pct(self) -> float:
        """0..100; 100 of nothing."""
        return 100.0 * self.used / self.most if self.most else 100.0


class MachineFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One machine now. None is what the kernel does not say, or not to this user."""

    memory_bytes: int | None = None  # all of it, or what the control group that we are in may use
    memory_free_bytes: int | None = None  # without swapping
    disk: Used | None = None  # bytes, of the disk with the environment's state; what is kept for root counts as used
    inodes: Used | None = None  # of the same; None also where there is no such limit
    proxy_files: int | None = None  # that Envoy may have open; the limit that it was started with
    proxy_is_root: bool | None = None
    files: Used | None = None  # open in the whole system
    processes: Used | None = None  # and threads
    processes_by: str = ""  # the kernel's setting that ends them first; "" is a control group
    connections: Used | None = None  # that the firewall keeps track of (nf_conntrack)
    backlog: int | None = None  # net.core.somaxconn
    inotify_instances: int | None = None  # for each user
    inotify_watches: int | None = None
    ephemeral: tuple[int, int] | None = None  # ports that the kernel hands out for outgoing connections
    synchronised: bool | None = None  # whether the kernel's clock follows a time server
