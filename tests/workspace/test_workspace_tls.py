"""`tls` of the gateway in atoll.toml: what it means, and what is said of near misses."""

from pathlib import Path

import pytest

from atoll.model.environment import CertificateFiles, Tls
from atoll.model.errors import InvalidWorkspace
from atoll.workspace.loader import load

PAIR = 'certificates = { cert = "a.crt", key = "a.key" }'


def tls(root: Path, text: str) -> Tls:
    (root / "atoll.toml").write_text(f"[environments.x.gateway]\nport = 443\n[environments.x.gateway.tls]\n{text}\n")
    found = load(root, "x").environment.gateway.tls
    assert found is not None
    assert load(root).environment.gateway.tls is None  # another environment is another gateway
    return found


def test_one_pair_or_a_list(tmp_path: Path) -> None:
    pair = CertificateFiles(cert="a.crt", key="a.key")
    assert tls(tmp_path, PAIR) == Tls(certificates=(pair,))
    found = tls(
        tmp_path, 'certificates = [{ cert = "a.crt", key = "a.key" }]\nhttp = 80\nhsts = "30d"\nminimum = "1.3"'
    )
    assert found == Tls(certificates=(pair,), http=80, hsts_s=30 * 86_400.0, minimum="1.3")


def test_hosts_are_names(tmp_path: Path) -> None:
    found = tls(tmp_path, 'http = 80\nacme = { hosts = ["Shop.Example.com.", "shop.example.com"], agree = true }')
    assert found.acme is not None
    assert found.acme.hosts == ("shop.example.com",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http = 80", "has no certificate"),
        ('acme = { hosts = ["a.test"], agree = true }', "write http = 80"),
        ('http = 80\nacme = { hosts = ["a.test"], agree = false }', "write agree = true"),
        ('http = 80\nacme = { hosts = ["a.test"] }', "agree is missing"),
        ('http = 80\nacme = { hosts = ["*.a.test"], agree = true }', "must not be a wildcard"),
        ('http = 80\nacme = { hosts = ["10.0.0.1"], agree = true }', "must be the name of a host"),
        ('http = 80\nacme = { hosts = ["https://a.test"], agree = true }', "without scheme and port"),
        ('http = 80\nacme = { hosts = ["localhost"], agree = true }', "must be the full name of a host"),
        ('http = 80\nacme = { domains = ["a.test"], hosts = ["a.test"], agree = true }', "it is called `hosts`"),
        ('cert = "a.crt"\n' + PAIR, "write certificates = {"),
        (PAIR + "\nhttp = 443", "port 443 is the gateway's own"),
        (PAIR + "\nhttp = 20001", "lies within the ports"),
        (PAIR + '\nhsts = "1y"', 'such as "365d"'),
        (PAIR + '\nhsts = "0d"', 'such as "365d"'),
        (PAIR + "\nminimum = 1", 'write "1.2", in quotes'),
        (PAIR + '\nminimun = "1.2"', "did you mean 'minimum'"),
        ('certificates = { cert = "a.crt" }', "key is missing"),
    ],
)
def test_near_misses_are_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidWorkspace) as caught:
        tls(tmp_path, text)
    assert said in "\n".join(f"{each.what}; {each.fix}" for each in caught.value.problems)


def test_fields_of_tls_beside_it_are_told(tmp_path: Path) -> None:
    (tmp_path / "atoll.toml").write_text('gateway = { port = 443, cert = "a.crt" }\n')
    with pytest.raises(InvalidWorkspace) as caught:
        load(tmp_path)
    assert "belongs into `tls`" in caught.value.problems[0].fix
