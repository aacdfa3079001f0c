"""What `tls` of the gateway takes in `atoll.toml`, one row a field: the rows parse it and are its documentation."""

import re
from typing import Any

from atoll.model.environment import Acme, CertificateFiles, Tls
from atoll.workspace.kinds import Choice, Either, Flag, Integer, ListOf, Mapped, Text, seen, wrong
from atoll.workspace.tables import Field, Table

HSTS_S = 365 * 86_400.0  # a year, the least that browsers' own lists take
_DAY_S = 86_400.0
_PATH = Text("path", pattern=r"[^\s].*", must="be a path")
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"


def _host(text: str) -> str:
    """A name that an authority can look up: HTTP-01 proves single names, no wildcards and no addresses."""
    name = text.lower().rstrip(".")
    if name.startswith("*."):
        why = "must not be a wildcard: authorities give those by DNS only, which Atoll does not speak"
        raise wrong(why, "name each host, or get it by other means and give its files in `certificates`")
    if re.fullmatch(r"[0-9.]+|.*:.*", name) and not re.fullmatch(rf"({_LABEL}\.)+[a-z].*", name):
        raise wrong(
            f"must be the name of a host, not {seen(text)}", "without scheme and port, such as shop.example.com"
        )
    if not re.fullmatch(rf"({_LABEL}\.)+{_LABEL}", name) or len(name) > 128:
        raise wrong(f"must be the full name of a host, not {seen(text)}", 'such as "shop.example.com"')
    return name


def _hosts(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _hsts_days(text: str) -> float:
    found = re.fullmatch(r"(\d{1,4})d", text)
    if found is None or not int(found[1]):
        raise wrong(f"must be a number of days, not {seen(text)}", 'such as "365d", or true, which is a year')
    return int(found[1]) * _DAY_S


class _Hsts(Either):
    """A number of days, or whether at all."""

    def show(self, value: Any) -> str:
        return "false" if not value else "true" if value == HSTS_S else f'"{value / _DAY_S:g}d"'


def _acme(**given: Any) -> Acme:
    made = Acme(**given)
    if not made.agree:
        fix = "read them (Let's Encrypt: https://letsencrypt.org/repository), then write agree = true"
        raise wrong("needs your agreement to the authority's terms of service", fix)
    return made


def _tls(**given: Any) -> Tls:
    made = Tls(**given)
    if not made.certificates and made.acme is None:
        fix = 'such as certificates = { cert = "tls/shop.crt", key = "tls/shop.key" }, or acme = { ... }'
        raise wrong("has no certificate: neither `certificates` nor `acme`", fix)
    if made.acme is not None and made.http is None:
        fix = "write http = 80; another port only where something leads port 80 to it"
        raise wrong("has `acme` but no `http`: the authority asks at the port of plain HTTP", fix)
    return made


CERTIFICATE_TABLE = Table(
    "a certificate",
    (
        Field(
            "cert",
            _PATH,
            "The certificate and those that it is signed by, in PEM (`fullchain.pem`, `tls.crt`): relative to the workspace, "
            "absolute, or from `~` on.",
            ('"/etc/letsencrypt/live/shop.example.com/fullchain.pem"',),
            required=True,
        ),
        Field(
            "key",
            _PATH,
            "Its private key, in PEM and without a password.",
            ('"/etc/letsencrypt/live/shop.example.com/privkey.pem"',),
            required=True,
        ),
    ),
    CertificateFiles,
    spec=CertificateFiles,
    hints={"chain": "`cert` holds the whole chain", "certificate": "it is called `cert`"},
)
ACME_TABLE = Table(
    "acme",
    (
        Field(
            "hosts",
            Mapped(ListOf(Mapped(Text("host"), _host), least=1), _hosts),
            "Hosts that get a certificate, each its own. They must lead to this machine.",
            ('["shop.example.com", "www.shop.example.com"]',),
            required=True,
        ),
        Field(
            "agree",
            Flag(),
            "That you agree to the authority's terms of service.",
            ("true",),
            required=True,
        ),
        Field(
            "email",
            Text("address", pattern=r"[^@\s]+@[^@\s]+\.[^@\s]+", must="be an e-mail address"),
            "Where the authority reaches you.",
            ('"ops@example.com"',),
            default="none",
        ),
        Field(
            "directory",
            Text("URL", pattern=r"https://[^\s]+", must="be an https:// URL"),
            "The authority: the URL of its ACME directory. Try with Let's Encrypt's staging one first, its limits are wider.",
            ('"https://acme-staging-v02.api.letsencrypt.org/directory"',),
        ),
        Field(
            "ca",
            _PATH,
            "A file of certificates (PEM) that the directory's own address is trusted by, for an authority of your own.",
            ('"pki/root.pem"',),
            default="the machine's",
        ),
    ),
    _acme,
    spec=Acme,
    hints={"domains": "it is called `hosts`", "host": "it is called `hosts`", "server": "it is called `directory`"},
)
TLS_TABLE = Table(
    "tls",
    (
        Field(
            "certificates",
            Either(
                table=Mapped(CERTIFICATE_TABLE, lambda one: (one,)),
                items=ListOf(CERTIFICATE_TABLE, least=1),
                fix='such as { cert = "tls/shop.crt", key = "tls/shop.key" }',
            ),
            "Certificates in files, one or a list. A client gets the one that names the host that it asks for, else the first. "
            "Files that change are taken without a restart.",
            ('{ cert = "tls/shop.crt", key = "tls/shop.key" }',),
            default="none",
        ),
        Field(
            "acme",
            ACME_TABLE,
            "Gets certificates from an authority, and renews them.",
            ('{ hosts = ["shop.example.com"], agree = true }',),
            default="none",
        ),
        Field(
            "http",
            Integer(1, 65_535),
            "A port for plain HTTP at the same address. It answers the authority, and leads everything else to HTTPS (308).",
            ("80",),
            default="none",
        ),
        Field(
            "hsts",
            _Hsts(
                flag=Mapped(Flag(), lambda on: HSTS_S if on else 0.0),
                text=Mapped(Text(), _hsts_days, says='`"365d"`', shape={"pattern": r"^\d{1,4}d$"}),
                fix='true, or such as "30d"',
            ),
            "How long browsers shall refuse plain HTTP to these hosts, once they were here. true is a year. It cannot be taken "
            "back before that time is over.",
            ("true", '"30d"'),
            into="hsts_s",
            default="not said",
        ),
        Field(
            "minimum",
            Choice("1.2", "1.3", number='write "1.2", in quotes'),
            "The oldest version of TLS.",
            ('"1.3"',),
        ),
    ),
    _tls,
    spec=Tls,
    hints={
        "cert": 'write certificates = { cert = "...", key = "..." }',
        "key": 'write certificates = { cert = "...", key = "..." }',
        "redirect": "`http` is the port that redirects",
        "min_version": "it is called `minimum`",
        "letsencrypt": "it is called `acme`",
    },
)
TLS = Either(table=TLS_TABLE, fix='such as { certificates = { cert = "tls/shop.crt", key = "tls/shop.key" } }')
