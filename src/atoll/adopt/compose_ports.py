"""Where a Compose service listened, and how it learns that number here: by variable, by address, or by argument."""

import re
from collections.abc import Mapping

from atoll.adopt.compose_shapes import ports
from atoll.adopt.compose_told import Told
from atoll.adopt.compose_values import whole
from atoll.adopt.dockerfile import Image
from atoll.adopt.found import Found, Protocol, slug
from atoll.adopt.tree import items
from atoll.adopt.yaml_file import Fields

_LISTENS = re.compile(r"(https?://)?(?:0\.0\.0\.0|\[::\]|127\.0\.0\.1|localhost|\*|\+)?:(\d{1,5})/?")
DEBUGGERS = {5005, 5858, 9229, 5678, 2345}  # Java, Node.js old and new, Python's debugpy, Go's delve


def listens(found: Found, raw: Fields, image: Image | None, basis: Found | None, told: Told) -> None:
    """Sets where it listened, and whether it was reached from outside."""
    doors = ports(raw)
    exposed = [port for each in items(raw.get("expose")) if (port := whole(str(each).partition("/")[0], 1, 65_535))]
    inside = [target for target, _ in doors] + exposed
    inside = inside or (image.ports if image else [])  # an image that several services share names all their ports
    found.published = any(outer for _, outer in doors)
    found.listens = inside[0] if inside else found.listens
    if basis is None and not inside:
        found.protocol = "none"
    elif basis is not None and basis.protocol == "none" and doors:
        found.protocol = "http"
    where = ("ports",) if doors else ("expose",)
    for target in dict.fromkeys(inside[1:]):
        if target in DEBUGGERS:
            told.left(f"port {target} is a debugger's, which does not run here", "", *where)
        elif target != found.listens:
            found.also_listens[target] = ""
    for each in items(raw.get("ports")):
        shown = str(each.get("target") if isinstance(each, dict) else each)
        if not re.search(r"\d(?:/\w+)?$", shown):
            told.left(f"port {shown} is not understood", "see the Compose specification", "ports")
        elif "udp" in str(each):
            told.left(f"port {shown} is UDP, which is not carried", "", "ports")
        elif re.search(r"\d-\d+(?:/tcp)?$", shown):
            told.left(f"of the ports {shown} only the first is carried over", "name the others in `ports`", "ports")
        elif isinstance(each, dict) and each.get("mode") == "host":
            told.left("ports.mode host is not carried over: the gateway is the way in", "", "ports")


def variable(found: Found, variables: dict[str, str | None]) -> dict[str, str | None]:
    """The variables without those that tell a port's number: these become `ports`' or hold a placeholder."""
    if found.protocol == "none":
        return variables
    by_argument = re.search(r"\{(?:port|address|url)\}", str(found.run))
    for name in list(variables):
        value = variables[name] or ""
        address = _LISTENS.fullmatch(value)
        number = int(address[2]) if address else int(value) if re.fullmatch(r"\d{1,5}", value) else 0
        if number in found.also_listens:
            _further(found, name, number, address)
        elif not (name == "PORT" or (number and number == found.listens)):
            continue
        elif name == "PORT" or (not address and name == found.port_env):
            found.port_env = "" if name == "PORT" else name
        elif address:
            found.env[name] = "{url}" if address[1] else "{address}"
            if "http" in re.split(r"[^a-z]+", name.lower()) and found.also_listens:
                found.protocol = "http"  # and another one speaks gRPC
        elif re.search(r"(?:^|_)PORTS?$", name):
            if by_argument or found.port_env:
                found.env[name] = "{port}"
            else:
                found.port_env = name
        else:
            continue
        del variables[name]
        if number not in found.also_listens:
            found.notes.pop("port", None)
    return {name: value for name, value in variables.items() if name not in found.env}


def _further(found: Found, variable: str, number: int, address: re.Match[str] | None) -> None:
    """A second port: what its variable is called tells what is spoken there."""
    words = [word for word in re.split(r"[^a-z0-9]+", variable.lower()) if word]
    protocol: Protocol = "grpc" if "grpc" in words else "http"
    named = next((word for word in words if word in {"grpc", "admin", "metrics", "management", "internal"}), "")
    name = named or slug(re.sub(r"_?PORT$", "", variable) or "more")[:20].strip("-")
    if name in found.more_ports or name == found.protocol:
        name = f"{name[:14].strip('-')}-{number}"
    found.also_listens[number] = name
    if address:
        found.more_ports[name] = (protocol, "")
        found.env[variable] = f"{address[1] or ''}{{host}}:{{port.{name}}}"
    else:
        found.more_ports[name] = (protocol, variable)


def unnamed(found: Found, told: Told) -> None:
    """The further ports that no variable tells."""
    for number, name in found.also_listens.items():
        if not name and found.protocol != "none":
            fix = "name it in `ports`, with the variable that tells its number"
            told.left(f"its second port {number} is not carried over: no variable holds it", fix, "ports")


def named(callee: Found, number: int) -> str | None:
    """The name of the port that others ask by its number; "" is the first, None when there is no such port."""
    if not number or not callee.listens or number == callee.listens:
        return ""
    return callee.also_listens.get(number) or None


def doors(raw: Mapping[str, object]) -> dict[int, int]:
    """Container ports and what they were on this machine, for those that have a number there."""
    return {target: outer for target, outer in ports(raw) if outer}
