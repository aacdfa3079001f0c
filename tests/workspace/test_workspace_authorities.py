"""`ca` of a call: its content becomes part of the specification; what holds no certificates is told."""

import ssl
from pathlib import Path

import pytest

from atoll.model.errors import InvalidWorkspace
from atoll.workspace.loader import load

# A self-signed certificate of "authority", which nobody trusts; its key was thrown away.
PEM = """\
-----BEGIN CERTIFICATE-----
MIIBPjCB5aADAgECAhRCmyNUzztZ6cp+sDKBRgiAhwcvojAKBggqhkjOPQQDAjAU
MRIwEAYDVQQDDAlhdXRob3JpdHkwIBcNMjAwMTAxMDAwMDAwWhgPMjEwMDAxMDEw
MDAwMDBaMBQxEjAQBgNVBAMMCWF1dGhvcml0eTBZMBMGByqGSM49AgEGCCqGSM49
AwEHA0IABGAnett7sJNIwDzg+JjnP3/uroHzzwQqK1k/9ry9++uT/zOZJVvn3Kmg
ANFmmBPuvEjoGfR6zBDqUZVaF+5JftujEzARMA8GA1UdEwEB/wQFMAMBAf8wCgYI
KoZIzj0EAwIDSAAwRQIgVSGUsL8loNj9D/kgSfzohysgvNwoejoJEn564e4f9V0C
IQC3X5eeCrctCIPw0HrDcCT6Oj9cR5ILhAbEaZVSlUXfxA==
-----END CERTIFICATE-----
"""


def calls(root: Path, text: str) -> Path:
    (root / "atoll.toml").touch()
    (root / "service.toml").write_text(f'name = "web"\nrun = "x"\n[calls.bank]\nenv = "BANK"\n{text}\n')
    return root


def wrong(root: Path, text: str) -> list[tuple[int | None, str]]:
    with pytest.raises(InvalidWorkspace) as caught:
        load(calls(root, text))
    return [(problem.line, problem.what) for problem in caught.value.problems]


def test_the_content_is_in_the_specification(tmp_path: Path) -> None:
    (tmp_path / "bank.pem").write_text(PEM)
    [call] = load(calls(tmp_path, 'url = "https://bank.test"\nca = "bank.pem"')).services["web"].calls
    assert call.ca == PEM
    ssl.create_default_context(cadata=call.ca)


def test_an_absolute_path_will_do(tmp_path: Path) -> None:
    (tmp_path / "bank.pem").write_text(PEM)
    text = f'url = "grpcs://bank.test"\nca = "{tmp_path}/bank.pem"'
    assert load(calls(tmp_path, text)).services["web"].calls[0].ca == PEM


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be read: No such file or directory"),
        ("", "holds no certificates"),
        ("hello", "holds no certificates"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no certificates"),
        (f"{PEM}-----BEGIN PRIVATE KEY-----\n", "holds a private key, which nobody but its owner should have"),
        (PEM * 600, "is larger than 256 KiB"),
    ],
    ids=("missing", "empty", "text", "broken", "key", "large"),
)
def test_a_file_without_certificates_is_told(tmp_path: Path, content: str | None, what: str) -> None:
    if content is not None:
        (tmp_path / "bank.pem").write_text(content)
    assert wrong(tmp_path, 'url = "https://bank.test"\nca = "bank.pem"') == [(6, f'calls.bank.ca: "bank.pem" {what}')]


def test_it_is_for_callees_with_tls(tmp_path: Path) -> None:
    (tmp_path / "bank.pem").write_text(PEM)
    assert wrong(tmp_path, 'url = "http://bank.test"\nca = "bank.pem"') == [(6, "calls.bank.ca is for a url with TLS")]
