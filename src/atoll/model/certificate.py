"""A certificate with its key, as the gateway shows it, and the errors of one that cannot be used. Pure data."""

import msgspec


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """A chain and its private key, both PEM. Its `repr` leaves out the key, so that no log and no error can hold it."""

    chain: str
    key: str
    hosts: tuple[str, ...]  # that it names, the subject's own first
    issuer: str  # whom it is signed by, for people
    starts_wall: float
    ends_wall: float
    fingerprint: str  # SHA-256 of the host's own certificate, hexadecimal

    def __repr__(self) -> str:
        """What may be shown."""
        return f"Certificate({', '.join(self.hosts)}, {self.fingerprint[:12]})"


class Unusable(Exception):
    """A pair that no client can be shown: the file (or "" for what an authority gave), and why."""

    def __init__(self, file: str, why: str) -> None:
        super().__init__(f"{file}: {why}" if file else why)
        self.file, self.why = file, why
