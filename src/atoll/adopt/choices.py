"""What needs a person, or a safe default: who answers at "/", and what must not run twice at a time. Pure."""

import re
from collections.abc import Mapping

from atoll.adopt.found import SCHEDULER, Findings, Found, Left, Place, Question, join

NOBODY = "none"
_FRONT = (
    "frontend",
    "front-end",
    "front",
    "web",
    "webapp",
    "www",
    "website",
    "site",
    "storefront",
    "ui",
    "gateway",
    "app",
    "client",
    "portal",
)


def questions(findings: Findings) -> list[Question]:
    """In the order in which they are asked."""
    asked: list[Question] = []
    doors = _doors(findings)
    if len(doors) > 1:
        names = tuple(found.name for found in doors)
        text = 'several services answer HTTP: which one gets "/" at the gateway?'
        asked.append(Question(key="/", text=text, choices=(*names, NOBODY), default=_front(doors).name))
    for found in findings.services:
        if reason := _alone(found):
            text = f"{found.name} {reason}: may two releases of it run at the same time during a deploy?"
            asked.append(Question(key=f"overlap.{found.name}", text=text, choices=("yes", "no"), default="no"))
    return asked


def settle(findings: Findings, answers: Mapping[str, str]) -> None:
    """Write the answers (or their defaults) into the services."""
    chosen = {question.key: answers.get(question.key, question.default) for question in questions(findings)}
    doors = _doors(findings)
    first = chosen.get("/", doors[0].name if doors else NOBODY)
    inferred = not any(found.published for found in doors)
    for found in doors:
        if found.name == first:
            found.route = "/"
            if len(doors) > 1 and "/" not in answers:
                found.notes["route"] = "a guess: one service answers here"
        elif inferred:
            found.route_hint = f"/{found.name}"
        else:
            found.route, found.strip = f"/{found.name}", True
            found.notes["route"] = f"it had the port {found.listens} to itself" if found.listens else ""
    for found in findings.services:
        if (reason := _alone(found)) and chosen[f"overlap.{found.name}"] == "no":
            found.overlap, found.replicas = False, 1
            found.notes["overlap"] = f"{reason}; true when two at a time do no harm"


def unsettled(findings: Findings) -> list[Left]:
    """What is written as a comment beside a port, for the list, too: such a service does not answer before it is seen to."""
    return [
        Left(
            service=found.name,
            what="nothing shows how it learns its port",
            fix=f"let it listen on PORT, or put {{port}} into `run` in {join(found.folder, 'service.toml')}; when it insists"
            f" on a number: ports.{found.protocol} = {{ number = {found.listens or 3000} }}",
            places=(Place(file=found.source),),
        )
        for found in findings.services
        if found.notes.get("port") and found.protocol != "none"
    ]


def _doors(findings: Findings) -> list[Found]:
    """The services that requests from outside may reach: those that were published, else all that speak HTTP."""
    http = [found for found in findings.services if found.protocol == "http"]
    return [found for found in http if found.published] or ([] if any(f.published for f in findings.services) else http)


def _front(doors: list[Found]) -> Found:
    """The one that looks most like the face of the whole."""
    return min(
        doors, key=lambda found: next((at for at, word in enumerate(_FRONT) if _named(found, word)), len(_FRONT))
    )


def _named(found: Found, word: str) -> bool:
    return re.search(rf"(?:^|-){word}(?:-|$)", found.name) is not None


def _alone(found: Found) -> str:
    """Why two of it at a time may do harm; "" when nothing says so."""
    if found.alone:
        return found.alone
    run = found.run if isinstance(found.run, str) else " ".join(found.run)
    if found.protocol == "none" and (SCHEDULER.search(found.name) or SCHEDULER.search(run)):
        return "looks like a scheduler"
    return ""
