"""One row a field: its name, kind, meaning and examples. The same row parses the file and documents it.

`Table.read` finds every mistake of a table, not only the first. `reference` walks the same rows for the page, and a
test reads every example of every row.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from atoll.model.suggest import did_you_mean
from atoll.workspace.kinds import Kind, Mistake, Wrong, seen


class Field(NamedTuple):
    """A field of a table. `into` is the attribute of the specification that it fills, when that is named otherwise."""

    key: str
    kind: Kind
    meaning: str
    examples: tuple[str, ...] = ()  # values as TOML, each complete
    into: str = ""
    required: bool = False
    default: str = ""  # for the reference, where the specification's own default does not tell

    @property
    def attribute(self) -> str:
        """The attribute of the specification."""
        return self.into or self.key


class Table:
    """A table with a fixed set of fields. `make` gets the fields that were given, by attribute, and builds the value."""

    def __init__(
        self,
        title: str,
        fields: Sequence[Field],
        make: Callable[..., Any],
        *,
        spec: type[msgspec.Struct],
        says: str = "",
        hints: Mapping[str, str] | None = None,
        shape: Mapping[str, Any] | None = None,
    ) -> None:
        self.title, self.fields, self.make, self.spec = title, tuple(fields), make, spec
        self.says = says or "table"
        self.hints = hints or {}
        self.shape = shape or {}  # what JSON Schema can say of the tables that `make` refuses
        self._by_key = {field.key: field for field in fields}

    def values(self, value: Mapping[str, object]) -> tuple[dict[str, Any], list[Mistake]]:
        """What was given and could be read, by attribute, and every mistake."""
        good: dict[str, Any] = {}
        mistakes: list[Mistake] = []
        for key, item in value.items():
            field = self._by_key.get(key)
            if field is None:
                fix = self.hints.get(key.lower()) or did_you_mean(key, self._by_key)
                mistakes.append(Mistake(f"is not a field of {self.title}", fix, (key,), id="unknown-field"))
                continue
            try:
                good[field.attribute] = field.kind.read(item)
            except Wrong as exc:
                mistakes += [mistake.below(key) for mistake in exc.mistakes]
                if exc.partial is not None:
                    good[field.attribute] = exc.partial
        for field in self.fields:
            if field.required and field.key not in value:
                fix = f"such as {field.key} = {field.examples[0]}" if field.examples else ""
                mistakes.append(Mistake("is missing", fix, (field.key,), id="missing-field"))
        return good, mistakes

    def read(self, value: object) -> Any:
        """The table as what `make` makes of it. Raises `Wrong` with all mistakes."""
        if not isinstance(value, dict):
            raise Wrong([Mistake(f"must be a table, not {seen(value)}")])
        good, mistakes = self.values(value)
        made = None
        if all(field.attribute in good for field in self.fields if field.required):
            try:
                made = self.make(**good)
            except Wrong as exc:
                mistakes = mistakes or exc.mistakes  # else it may follow from those
        if mistakes:
            raise Wrong(mistakes, made)
        return made

    def show(self, value: Any) -> str:
        """Only what differs from the defaults."""
        defaults = {field.name: field.default for field in msgspec.structs.fields(self.spec)}
        parts = [
            f"{field.key} = {field.kind.show(getattr(value, field.attribute))}"
            for field in self.fields
            if getattr(value, field.attribute, None) != defaults.get(field.attribute)
        ]
        return "{ " + ", ".join(parts) + " }" if parts else "{}"
