"""mise and asdf, which switch between versions of any language: where toolchains of theirs lie, what names a version to them."""

from atoll.model.building import Pin


def places(mise: str, asdf: str = "") -> tuple[str, ...]:
    """Globs of home folders. `mise` and `asdf` are the language's names there; asdf's may say what lies in a version's folder."""
    asdf = asdf or f"{mise}/*"
    return (
        f"$MISE_DATA_DIR/installs/{mise}/*",
        f"~/.local/share/mise/installs/{mise}/*",
        f"$ASDF_DATA_DIR/installs/{asdf}",
        f"~/.asdf/installs/{asdf}",
    )


def pins(mise: str, asdf: str = "") -> tuple[Pin, ...]:
    """Their files. Both names may be patterns."""
    return (
        Pin(file=".tool-versions", pattern=rf"^{asdf or mise}\s+(\d[\d.]*)"),
        Pin(file="mise.toml", pattern=rf'^{mise}\s*=\s*"(\d[\d.]*)"'),
    )
