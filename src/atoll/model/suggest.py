"""The nearest known name for a mistyped one. Pure; used wherever a person types a name."""

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None when nothing is close (difflib's ratio >= 0.6)."""
    from difflib import get_close_matches  # only who makes a mistake needs it

    found = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence for an error's `fix`: the suggestion, else the list of what is known, else ''."""
    names = sorted(known)
    if best := nearest(name, names):
        return f"did you mean '{best}'?"
    return f"known: {', '.join(names)}" if names else ""
