"""Every link of every page leads somewhere: to a file, a heading, or outside in a form that can be one. No network."""

import re
import runpy
from urllib.parse import urlsplit

import pytest
from tests.docs.pages import ROOT, anchors, blocks, links, names

_OUTSIDE = re.compile(r"(?:https?|mailto):", re.IGNORECASE)


def broken(page: str, target: str) -> str:
    """What is wrong with a link, or ''."""
    if _OUTSIDE.match(target):
        return _broken_outside(target)
    path, _, anchor = target.partition("#")
    there = (ROOT / page).parent / path if path else ROOT / page
    if not there.resolve().is_relative_to(ROOT):
        return "leads out of the repository"
    if not there.is_file():
        return "is a folder: link its README.md" if there.is_dir() else "is not there"
    if anchor and there.suffix == ".md" and anchor not in anchors(there.resolve().relative_to(ROOT).as_posix()):
        return f"has no heading with the anchor #{anchor}"
    return ""


def _broken_outside(target: str) -> str:
    if target.startswith("mailto:"):
        return "" if re.fullmatch(r"mailto:[^@\s]+@[^@\s]+\.[a-z]+", target) else "is no address"
    parts = urlsplit(target)
    if parts.scheme != "https":
        return "is not https"
    return "" if re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc) else "names no host"


@pytest.mark.parametrize("page", names())
def test_every_link_leads_somewhere(page: str) -> None:
    wrong = [f"{page}:{line}: {target} {what}" for line, target in links(page) if (what := broken(page, target))]
    assert wrong == []


@pytest.mark.parametrize(
    ("target", "what"),
    [
        ("nowhere.md", "is not there"),
        ("docs", "is a folder: link its README.md"),
        ("docs/guide.md#nowhere", "has no heading with the anchor #nowhere"),
        ("#nowhere", "has no heading with the anchor #nowhere"),
        ("../secret.md", "leads out of the repository"),
        ("http://example.com", "is not https"),
        ("https://", "names no host"),
        ("https://localhost/x", "names no host"),
        ("mailto:somebody", "is no address"),
        ("docs/guide.md", ""),
        ("docs/cli.md#exit-codes", ""),
        ("https://github.com/grpc/grpc/blob/master/doc/health-checking.md", ""),
    ],
)
def test_a_link_that_leads_nowhere_is_found(target: str, what: str) -> None:
    assert broken("README.md", target) == what


@pytest.mark.parametrize("page", names())
def test_every_block_of_code_says_its_language(page: str) -> None:
    assert [block.line for block in blocks(page) if not block.language] == []


def test_the_site_has_every_page() -> None:
    """By its patterns; that each also stands in a table of contents is what the build checks."""
    settings = runpy.run_path(str(ROOT / "docs/site/conf.py"))
    shown = {path for pattern in settings["include_patterns"] for path in ROOT.glob(pattern)}
    assert [name for name in names() if ROOT / name not in shown] == []
