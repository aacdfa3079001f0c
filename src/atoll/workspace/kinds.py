"""Kinds of values in a TOML file: each one reads, explains itself, and shows a value as a person would write it.

The field tables (`fields_service`, `fields_workspace`) are made of these; nothing here knows a field. A kind never
looks beyond the value that it is given: what depends on another field or service is `decide.validate`'s.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from atoll.model.catalogue.ids import ErrorId
from atoll.model.suggest import did_you_mean

Step = str | int  # one step of a path into a TOML document: a key, or an index of an array


class Mistake:
    """One wrong value: where it is, what is wrong with it (a predicate: "must be ..."), the fix, and its page's id."""

    __slots__ = ("fix", "id", "path", "what")

    def __init__(self, what: str, fix: str = "", path: tuple[Step, ...] = (), *, id: ErrorId = "wrong-value") -> None:
        self.what, self.fix, self.path = what, fix, path
        self.id: ErrorId = id

    def below(self, step: Step) -> "Mistake":
        """The same mistake as seen from one level up."""
        return Mistake(self.what, self.fix, (step, *self.path), id=self.id)


class Wrong(Exception):
    """A value could not be read. `partial` is what is left of it without its mistakes, None when nothing is."""

    def __init__(self, mistakes: Sequence[Mistake], partial: Any = None) -> None:
        super().__init__(mistakes)
        self.mistakes, self.partial = list(mistakes), partial


class Kind(Protocol):
    """How one value is read. `says` names the kind in the reference."""

    says: str

    def read(self, value: object) -> Any:
        """The value for the specification. Raises `Wrong` with all mistakes in it."""
        ...

    def show(self, value: Any) -> str:
        """A value of the specification as TOML."""
        ...


def wrong(what: str, fix: str = "") -> Wrong:
    """The usual `Wrong`: one mistake, nothing left."""
    return Wrong([Mistake(what, fix)])


HUGE = 2**63  # beyond TOML's own integers; python refuses to write out the largest that its parser lets through


def seen(value: object) -> str:
    """A value that was found where another was expected, for a message; long ones are cut."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() if abs(value) >= HUGE:
            return "a huge number"
        case int() | float():
            return f"the number {value}"
        case str():
            return f'"{value}"' if len(value) <= 40 else f'"{value[:37]}..."'
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return f"a {type(value).__name__}"


class Text:
    """A string. `pattern` must match all of it, `must` says what it wants; a mistake's fix is `mend` of it, if that fits."""

    def __init__(
        self, says: str = "text", *, pattern: str = "", must: str = "", mend: Callable[[str], str] | None = None
    ) -> None:
        self.says, self.must, self.mend, self.pattern = says, must, mend, pattern
        self._pattern = re.compile(pattern) if pattern else None

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            text = str(value) if isinstance(value, float) or (type(value) is int and abs(value) < HUGE) else ""
            fits = text and (self._pattern is None or self._pattern.fullmatch(text))
            raise wrong(f"must be a string, not {seen(value)}", f'write "{text}"' if fits else "")
        if "\0" in value:
            raise wrong("must not hold a NUL character", "no environment or command line can carry one")
        if self._pattern is not None and not self._pattern.fullmatch(value):
            better = self.mend(value) if self.mend else ""
            fits = better and self._pattern.fullmatch(better)
            raise wrong(f"must {self.must}, not {seen(value)}", f'did you mean "{better}"?' if fits else "")
        return value

    def show(self, value: str) -> str:
        return f'"{value}"'


class Choice:
    """One of a few words."""

    def __init__(self, *words: str, number: str = "") -> None:
        """`number` is what to say to somebody who writes a number."""
        self.words, self._number = words, number
        self.says = " or ".join(f"`{word}`" for word in words)

    def read(self, value: object) -> str:
        if value not in self.words or not isinstance(value, str):
            wanted = ", ".join(f'"{word}"' for word in self.words)
            fix = did_you_mean(value, self.words) if isinstance(value, str) else ""
            fix = self._number if isinstance(value, int) and not isinstance(value, bool) else fix
            one = "be" if len(self.words) == 1 else "be one of"
            told = fix if fix.startswith("did") or fix == self._number else ""
            raise wrong(f"must {one} {wanted}, not {seen(value)}", told)
        return value

    def show(self, value: str) -> str:
        return f'"{value}"'


class Flag:
    """true or false."""

    says = "true or false"

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            fix = f"write {str(value).lower()}" if str(value).lower() in {"true", "false"} else ""
            raise wrong(f"must be true or false, not {seen(value)}", fix)
        return value

    def show(self, value: bool) -> str:
        return str(value).lower()


class Integer:
    """A whole number within a range."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high
        self.says = f"number, {low} to {high}"

    def read(self, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            fix = f"write {value}" if isinstance(value, str) and value.strip().isdecimal() else ""
            raise wrong(f"must be a whole number from {self.low} to {self.high}, not {seen(value)}", fix)
        if not self.low <= value <= self.high:
            raise wrong(f"must be from {self.low} to {self.high}, not {seen(value)}")
        return value

    def show(self, value: int) -> str:
        return str(value)


class Number:
    """Any number."""

    says = "number"

    def read(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong(f"must be a number, not {seen(value)}", "such as 0.5")
        return float(value)

    def show(self, value: float) -> str:
        return f"{value:g}"


DURATION = r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
_DURATION = re.compile(DURATION)
_UNIT_S = (3600.0, 60.0, 1.0, 0.001)


def duration_text(seconds: float) -> str:
    """The shortest way to write a duration: "250ms", "2s", "1m30s", "2h". Exact to a millisecond."""
    left, parts = round(seconds * 1000), ""
    for size_ms, unit in ((3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")):
        count, left = divmod(left, size_ms)
        parts += f"{count}{unit}" if count else ""
    return parts or "0s"


class Duration:
    """A time with its unit, read as seconds; plain numbers are refused, since nobody can tell ms from s."""

    says = "duration"

    def __init__(self, low_s: float = 0.0, high_s: float = 86_400.0) -> None:
        self.low_s, self.high_s = low_s, high_s

    def read(self, value: object) -> float:
        found = _DURATION.fullmatch(value) if isinstance(value, str) and value else None
        if found is None:
            fix = 'such as "500ms", "2s" or "1m30s"'
            digits = "" if isinstance(value, int) and abs(value) >= HUGE else str(value).strip()
            if re.fullmatch(r"\d+(\.\d+)?", digits) and len(digits) <= 9:
                fix = f'write "{digits}s", with a unit'
            raise wrong(f"must be a duration, not {seen(value)}", fix)
        seconds = math.fsum(float(part) * unit for part, unit in zip(found.groups("0"), _UNIT_S, strict=True))
        if not self.low_s <= seconds <= self.high_s:
            span = f'from "{duration_text(self.low_s)}" to "{duration_text(self.high_s)}"'
            raise wrong(f"must be {span}, not {seen(value)}")
        return seconds

    def show(self, value: float) -> str:
        return f'"{duration_text(value)}"'


SIZE = r"(\d+(?:\.\d+)?)\s?(B|[kK]B|MB|GB|TB|KiB|MiB|GiB|TiB)"
_SIZE = re.compile(SIZE)
_UNIT_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNIT_BYTES |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def size_text(size_bytes: int) -> str:
    """The shortest exact way to write a size: "256MiB", "500MB", "123B"."""
    for unit, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("GB", 10**9), ("MB", 10**6), ("KiB", 2**10)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return f"{size_bytes}B"


class Size:
    """An amount of bytes with its unit: MiB is 1024 * 1024, MB a million."""

    says = "size"

    def __init__(self, low_bytes: int = 0, high_bytes: int = 2**50) -> None:
        self.low_bytes, self.high_bytes = low_bytes, high_bytes

    def read(self, value: object) -> int:
        found = _SIZE.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            fix = 'such as "256MiB" or "1.5GiB"'
            if isinstance(value, str) and (
                near := re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([kKmMgGtT])i?b?\s*", value)
            ):
                fix = f'write "{near[1]}{near[2].upper()}iB"'
            elif isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**50:
                fix = f'write "{size_text(value)}" if bytes are meant'
            raise wrong(f"must be a size with its unit, not {seen(value)}", fix)
        size = round(float(found[1]) * _UNIT_BYTES[found[2].upper()]) if len(found[1]) < 16 else self.high_bytes + 1
        if not self.low_bytes <= size <= self.high_bytes:
            span = f'from "{size_text(self.low_bytes)}" to "{size_text(self.high_bytes)}"'
            raise wrong(f"must be {span}, not {seen(value)}")
        return size

    def show(self, value: int) -> str:
        return f'"{size_text(value)}"'


class Percent:
    """A share of 100, with its sign."""

    says = "percentage"

    def read(self, value: object) -> float:
        found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,6})?)\s?%", value) if isinstance(value, str) else None
        if found is None:
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100
            fix = f'write "{value:g}%"' if number else 'such as "20%"'
            raise wrong(f"must be a percentage, not {seen(value)}", fix)
        if float(found[1]) > 100:
            raise wrong(f'must be from "0%" to "100%", not {seen(value)}')
        return float(found[1])

    def show(self, value: float) -> str:
        return f'"{value:g}%"'


class ListOf:
    """A list of one kind, read as a tuple."""

    def __init__(self, item: Kind, *, says: str = "", least: int = 0) -> None:
        self.item, self.least = item, least
        self.says = says or f"list ({item.says})"

    def read(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            fix = f"write [{self.item.show(value)}]" if isinstance(value, str) and '"' not in value else ""
            raise wrong(f"must be a list, not {seen(value)}", fix)
        if len(value) < self.least:
            raise wrong("must not be empty")
        good, mistakes = [], []
        for index, item in enumerate(value):
            try:
                good.append(self.item.read(item))
            except Wrong as exc:
                mistakes += [mistake.below(index) for mistake in exc.mistakes]
                good += [exc.partial] if exc.partial is not None else []
        if mistakes:
            raise Wrong(mistakes, tuple(good))
        return tuple(good)

    def show(self, value: Sequence[Any]) -> str:
        return f"[{', '.join(self.item.show(item) for item in value)}]"


class MapOf:
    """A table with free names: each name and each value is of one kind. `make(name, value)` builds an entry's value."""

    def __init__(
        self, name: Kind, value: Kind, *, says: str = "", make: Callable[[str, Any], Any] | None = None, why: str = ""
    ) -> None:
        self.name, self.value, self.make, self.why = name, value, make, why
        self.says = says or f"table of {value.says}"

    def read(self, value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise wrong(f"must be a table, not {seen(value)}", self.why)
        good: dict[str, Any] = {}
        mistakes: list[Mistake] = []
        for key, item in value.items():
            read: Any = None
            try:
                self.name.read(key)
            except Wrong as exc:
                mistakes += [Mistake(f"has a name that {m.what}", m.fix, (key,)) for m in exc.mistakes]
                continue
            try:
                read = self.value.read(item)
            except Wrong as exc:
                mistakes += [mistake.below(key) for mistake in exc.mistakes]
                if exc.partial is None:
                    continue
                read = exc.partial
            good[key] = self.make(key, read) if self.make else read
        if mistakes:
            raise Wrong(mistakes, good)
        return good

    def show(self, value: Mapping[str, Any]) -> str:
        return (
            "{ " + ", ".join(f"{_key(key)} = {self.value.show(item)}" for key, item in value.items()) + " }"
            if value
            else "{}"
        )


def _key(name: str) -> str:
    """A key as TOML writes it: bare where it can be."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'


class Either:
    """A value with short forms: which kind reads it is told by its TOML type alone."""

    def __init__(
        self,
        *,
        text: Kind | None = None,
        items: Kind | None = None,
        table: Kind | None = None,
        flag: Kind | None = None,
        number: Kind | None = None,
        says: str = "",
        fix: str = "",
    ) -> None:
        self.fix = fix
        self.by_type: dict[type, Kind] = {}
        for of, kind in ((str, text), (list, items), (dict, table), (bool, flag), (int, number), (float, number)):
            if kind is not None:
                self.by_type[of] = kind
        self.says = says or ", or ".join(dict.fromkeys(kind.says for kind in self.by_type.values() if kind.says))
        words = {str: "a string", list: "a list", dict: "a table", bool: "true or false", int: "a number"}
        self._wanted = " or ".join(words[of] for of, kind in self.by_type.items() if of in words and kind.says)

    def read(self, value: object) -> Any:
        kind = self.by_type.get(type(value))
        if kind is None:
            raise wrong(f"must be {self._wanted}, not {seen(value)}", self.fix)
        return kind.read(value)

    def show(self, value: Any) -> str:
        kind = self.by_type.get(type(value)) or next(iter(self.by_type.values()))
        return kind.show(value)


class Refused:
    """A form that people try and that means nothing here; `fix` says what to write instead of the value."""

    says = ""

    def __init__(self, what: str, fix: Callable[[Any], str]) -> None:
        self.what, self.fix = what, fix

    def read(self, value: object) -> Any:
        raise wrong(self.what, self.fix(value))

    def show(self, value: Any) -> str:
        return str(value)


class Mapped:
    """Another kind's value, turned into something else. `turn` may raise `Wrong`.

    `shape` is what JSON Schema can say of the values that `turn` refuses.
    """

    def __init__(
        self, kind: Kind, turn: Callable[[Any], Any], *, says: str = "", shape: Mapping[str, Any] | None = None
    ) -> None:
        self.kind, self.turn, self.shape = kind, turn, shape or {}
        self.says = says or kind.says

    def read(self, value: object) -> Any:
        try:
            read = self.kind.read(value)
        except Wrong as exc:
            raise Wrong(exc.mistakes, self._left(exc.partial)) from None
        return self.turn(read)

    def _left(self, partial: Any) -> Any:
        """What is left, turned; nothing when that alone cannot be turned: it would be a mistake that nobody made."""
        try:
            return None if partial is None else self.turn(partial)
        except Wrong:
            return None

    def show(self, value: Any) -> str:
        return self.kind.show(value)
