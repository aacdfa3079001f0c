"""A command as a value: what specifications, builders and hosts hand around."""

import msgspec


class Command(msgspec.Struct, frozen=True):
    """What to run: an argument vector, or one line for `/bin/sh -c`. Templates (`{port}`) are still in it."""

    argv: tuple[str, ...] = ()
    shell: str | None = None

    @property
    def vector(self) -> tuple[str, ...]:
        """What is executed: the vector as it is, or the line by the shell."""
        return ("/bin/sh", "-c", self.shell) if self.shell is not None else self.argv

    @property
    def text(self) -> str:
        """The command as a person would write it."""
        return self.shell if self.shell is not None else " ".join(self.argv)
