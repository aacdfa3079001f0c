"""What is said of one Compose service while it is read: what is left to do, and what has no meaning without a container."""

from atoll.adopt.found import Left, Place
from atoll.adopt.yaml_file import Fields


class Told:
    """Gathers lines; each knows the place of the field that it is about. `home` is where the service begins."""

    def __init__(self, service: str, fields: Fields, home: Place, left: list[Left], unneeded: list[Left]) -> None:
        self.service, self._fields, self._home = service, fields, home
        self._left, self._unneeded = left, unneeded

    def left(self, what: str, fix: str = "", *path: str) -> None:
        """Something that a person has to see to. `path` leads to the field."""
        self._left.append(Left(service=self.service, what=what, fix=fix, places=(self.place(*path),)))

    def unneeded(self, key: str, why: str) -> None:
        """A field that nothing follows from here."""
        if any(each.service == self.service and each.what == f"{key}: {why}" for each in self._unneeded):
            return
        self._unneeded.append(Left(service=self.service, what=f"{key}: {why}", places=(self.place(*key.split(".")),)))

    def place(self, *path: str) -> Place:
        """Where a field stands, or else the service."""
        found = self._fields.place(*path)
        at = found if found.line else self._home
        return Place(file=at.file, line=at.line, key=".".join((self._home.key, *path)))
