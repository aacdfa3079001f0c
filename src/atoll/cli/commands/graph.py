"""`atoll graph`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.output import counted, print_json
from atoll.cli.session import Session, common_options, json_option, service_argument, takes_session

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from atoll.decide.graph import Graph, GraphEdge


@click.command
@service_argument(nargs=-1)
@click.option(
    "--format",
    "form",
    type=click.Choice(("tree", "mermaid", "dot")),
    default="tree",
    help="A tree for people, or text for Mermaid or Graphviz.",
)
@common_options
@json_option
@takes_session
def command(session: Session, services: tuple[str, ...], form: str) -> None:
    """Show who calls whom, and which stores and topics they use.

    From the workspace's files; needs no daemon. It marks services that call each other in a circle, stores that several
    services use, and topics that nobody publishes. With SERVICE: only what has to do with it.

    Example:
      atoll graph
      atoll graph orders
      atoll graph --format mermaid >> README.md
      atoll graph --format dot | dot -Tsvg > graph.svg
    """
    from atoll.cli.drafts import chosen
    from atoll.decide.graph import around, graph

    workspace = session.load()
    found = graph(workspace)
    if services:
        found = around(found, chosen(workspace, services))
    if session.json:
        print_json(found)
    elif form == "tree":
        for line in _tree(found, services):
            click.echo(line)
    else:
        from atoll.cli import drawing

        click.echo({"mermaid": drawing.mermaid, "dot": drawing.dot}[form](found), nl=False)


def _tree(graph: Graph, named: Sequence[str]) -> Iterator[str]:
    """A block for each service, then what to look at."""
    shown = [node for node in graph.nodes if node.kind == "service" and (not named or node.name in named)]
    kinds = {"service": "service", "store": "store", "topic": "topic", "external": "external callee"}
    counts = [counted(n, word) for kind, word in kinds.items() if (n := sum(node.kind == kind for node in graph.nodes))]
    yield f"{click.style(graph.workspace, bold=True)} · {graph.environment}: {', '.join(counts) or 'no service'}"
    for node in shown:
        yield ""
        yield f"{click.style(node.name, bold=True)}{f' ({node.detail})' if node.detail else ''}"
        rows = list(_rows(graph, node.id))
        width = max((len(name) for _, name, more in rows if more), default=0)
        for number, (verb, name, more) in enumerate(rows):
            branch = "└─" if number == len(rows) - 1 else "├─"
            told = f" {name:<{width}}  {click.style(more, dim=True)}" if more else f" {name}"
            yield f"{branch} {click.style(f'{verb:<9}', dim=True)}{told}"
    marks = list(_marks(graph))
    yield from ["", *marks] if marks else []


def _rows(graph: Graph, id: str) -> Iterator[tuple[str, str, str]]:
    """What one service has to do with others: a verb, the other, and more about it."""
    for edge in graph.edges:
        if edge.kind == "route" and edge.target == id:
            yield "serves", edge.label, f"at {graph.node('gateway').detail}"
    for edge in graph.edges:
        if edge.source != id:
            continue
        other = graph.node(edge.target)
        if edge.kind == "call":
            yield "calls", other.name, _about(edge, other.detail if other.kind != "service" else "")
        elif edge.kind == "store":
            yield "keeps", other.name, f"{other.detail}{', shared' if other.id in graph.shared else ''}"
        else:
            readers = [graph.node(each.target).name for each in graph.edges if each.source == other.id]
            yield "publishes", other.name, f"read by {', '.join(readers)}" if readers else "read by nobody here"
    for edge in graph.edges:
        if edge.kind == "consume" and edge.target == id:
            writers = [graph.node(each.source).name for each in graph.edges if each.target == edge.source]
            yield "consumes", graph.node(edge.source).name, f"from {', '.join(writers)}" if writers else "from outside"
    callers = [graph.node(edge.source).name for edge in graph.edges if edge.kind == "call" and edge.target == id]
    if callers:
        yield "is called", f"by {', '.join(dict.fromkeys(callers))}", ""


def _about(edge: GraphEdge, detail: str) -> str:
    parts = (
        detail,
        f"port {edge.label}" if edge.label else "",
        "optional" if edge.optional else "",
        "in a cycle" if edge.cycle else "",
    )
    return ", ".join(filter(None, parts))


def _marks(graph: Graph) -> Iterator[str]:
    """What makes services depend on each other more than they show."""
    for cycle in graph.cycles:
        way = " → ".join((*cycle, cycle[0]))
        yield _mark(f"{way}: a cycle of calls; when one is slow or away, all of them are")
    for id, users in graph.shared.items():
        yield _mark(f"{graph.node(id).name} is shared by {', '.join(users)}: none can change its tables alone")
    for topic in graph.unpublished:
        yield _mark(f"{topic} is consumed, and nobody here publishes it")


def _mark(text: str) -> str:
    return click.style(f"! {text}", fg="yellow")
