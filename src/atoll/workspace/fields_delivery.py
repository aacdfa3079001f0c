"""The fields of an environment that say when nothing is deployed, and who is told of what. See `fields_workspace`."""

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from atoll.decide.freeze import DAYS
from atoll.model.environment import Freeze, Notify
from atoll.model.spec import Plain
from atoll.model.suggest import did_you_mean
from atoll.workspace.fields_values import Secret
from atoll.workspace.kinds import Choice, Either, ListOf, Mapped, Text, wrong
from atoll.workspace.tables import Field, Table


def _day(value: str) -> str:
    try:
        return date.fromisoformat(value).isoformat()
    except ValueError:
        raise wrong(f'must be a date, not "{value}"', "such as 2026-12-20") from None


class Day:
    """A TOML date, or one as text."""

    says = "date"
    _text = Mapped(Text("date", pattern=r"\d{4}-\d{2}-\d{2}", must="be a date such as 2026-12-20"), _day)

    def read(self, value: object) -> str:
        if isinstance(value, date) and not isinstance(value, datetime):
            return value.isoformat()
        return str(self._text.read(value))

    def show(self, value: str) -> str:
        return f'"{value}"'


HOUR = Text("HH:MM", pattern=r"([01]\d|2[0-3]):[0-5]\d|24:00", must='be an hour of the day such as "16:00"')


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ValueError, OSError, KeyError):
        raise wrong(
            f'is no time zone: "{name}"', did_you_mean(name, available_timezones()) or 'such as "Europe/Berlin"'
        ) from None


def _freeze(**given: Any) -> Freeze:
    freeze = Freeze(**given)
    if bool(freeze.first) != bool(freeze.last):
        raise wrong("needs both `from` and `to`, or neither", 'such as { from = "2026-12-20", to = "2027-01-02" }')
    if freeze.first > freeze.last:
        raise wrong(f"ends on {freeze.last}, before it begins on {freeze.first}", "exchange `from` and `to`")
    if freeze.after >= freeze.before:
        raise wrong(
            f"ends at {freeze.before}, not after it begins at {freeze.after}",
            "a night is two freezes: until 24:00, and from 00:00",
        )
    if not freeze.first and not freeze.days and (freeze.after, freeze.before) == ("00:00", "24:00"):
        raise wrong("would freeze for ever", 'say when: { days = ["fri"], after = "16:00" }')
    return freeze


FREEZE_TABLE = Table(
    "a freeze",
    (
        Field("from", Day(), "The first frozen day.", ('"2026-12-20"',), into="first", default="none"),
        Field("to", Day(), "The last one.", ('"2027-01-02"',), into="last", default="none"),
        Field(
            "days",
            ListOf(Choice(*DAYS), least=1),
            "Only on these days of the week.",
            ('["fri", "sat", "sun"]',),
            default="each day",
        ),
        Field("after", HOUR, "From this hour of such a day.", ('"16:00"',)),
        Field("before", HOUR, "Until this one.", ('"08:00"',)),
        Field("zone", Mapped(Text("time zone"), _zone), "Whose hours and days these are.", ('"Europe/Berlin"',)),
        Field("why", Text(), "What people are told.", ('"holidays"',)),
    ),
    _freeze,
    spec=Freeze,
)
FREEZES = Either(
    items=ListOf(FREEZE_TABLE, says="list of freezes"),
    table=Mapped(FREEZE_TABLE, lambda freeze: (freeze,)),
    fix='such as { days = ["fri"], after = "16:00" }',
)

WEBHOOK = Either(
    text=Mapped(Text("URL", pattern=r"https?://\S+", must='be a URL such as "https://hooks.example.com/x"'), Plain),
    table=Secret(),
    says='URL or `{ secret = "name" }`',
    fix='such as "https://hooks.example.com/x", or { secret = "hook" }',
)
NOTIFY_TABLE = Table(
    "a notification",
    (
        Field(
            "url",
            WEBHOOK,
            "Where each event is posted, as JSON.",
            ('"https://hooks.example.com/x"', '{ secret = "hook" }'),
            required=True,
        ),
        Field(
            "events",
            ListOf(
                Text("kind of event", pattern=r"[a-z*][a-z.*-]*", must='be a kind of event such as "rollout.undone"'),
                least=1,
            ),
            "Kinds of events, as `atoll events --json` has them; `*` stands for anything.",
            ('["rollout.*", "fault.*"]',),
        ),
        Field(
            "secret", Secret.name, "The secret whose value signs each message.", ('"hook-key"',), default="not signed"
        ),
    ),
    Notify,
    spec=Notify,
)
NOTIFY = Either(
    items=ListOf(NOTIFY_TABLE, says="list of notifications"),
    table=Mapped(NOTIFY_TABLE, lambda one: (one,)),
    fix='such as { url = "https://hooks.example.com/x" }',
)
