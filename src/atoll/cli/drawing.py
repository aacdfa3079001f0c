"""A workspace's graph as text for other programs: Mermaid (GitHub, GitLab and many wikis show it) and Graphviz's dot."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atoll.decide.graph import Graph, GraphEdge, GraphNode

_MERMAID = {
    "gateway": ("([", "])"),
    "service": ("[", "]"),
    "absent": ("[", "]"),
    "external": ("[/", "/]"),
    "store": ("[(", ")]"),
    "topic": ("{{", "}}"),
}
_DOT = {
    "gateway": "shape=oval",
    "service": "shape=box",
    "absent": "shape=box, style=dashed",
    "external": "shape=parallelogram",
    "store": "shape=cylinder",
    "topic": "shape=hexagon",
}


def mermaid(graph: Graph) -> str:
    """A flowchart; calls in a cycle are thick, optional ones and topics dotted, shared stores red."""
    return "\n".join(_mermaid(graph)) + "\n"


def _mermaid(graph: Graph) -> Iterator[str]:
    ids = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    yield "flowchart LR"
    for node in graph.nodes:
        begin, end = _MERMAID[node.kind]
        yield f'    {ids[node.id]}{begin}"{_quoted(_label(node, "<br>"))}"{end}'
    for edge in graph.edges:
        arrow = "==>" if edge.cycle else "-.->" if _dotted(edge) else "-->"
        label = f'|"{_quoted(edge.label)}"|' if edge.label else ""
        yield f"    {ids[edge.source]} {arrow}{label} {ids[edge.target]}"
    if graph.shared:
        yield "    classDef shared stroke:#c00,stroke-width:3px"
        yield f"    class {','.join(ids[id] for id in graph.shared)} shared"


def _quoted(text: str) -> str:
    """As Mermaid writes what would end a label."""
    return (
        text.replace("&", "#amp;")
        .replace('"', "#quot;")
        .replace("<br>", "\0")
        .replace("<", "#lt;")
        .replace("\0", "<br>")
    )


def dot(graph: Graph) -> str:
    """A digraph; calls in a cycle are red, optional ones and topics dashed, shared stores red."""
    return "\n".join(_dot(graph)) + "\n"


def _dot(graph: Graph) -> Iterator[str]:
    yield "digraph {"
    yield "    rankdir=LR;"
    for node in graph.nodes:
        red = ", color=red" if node.id in graph.shared else ""
        yield f"    {json.dumps(node.id)} [{_DOT[node.kind]}, label={json.dumps(_label(node, chr(10)))}{red}];"
    for edge in graph.edges:
        parts = [f"label={json.dumps(edge.label)}"] if edge.label else []
        parts += ["style=dashed"] if _dotted(edge) else []
        parts += ["color=red", "penwidth=2"] if edge.cycle else []
        told = f" [{', '.join(parts)}]" if parts else ""
        yield f"    {json.dumps(edge.source)} -> {json.dumps(edge.target)}{told};"
    yield "}"


def _label(node: GraphNode, newline: str) -> str:
    told = node.detail if node.kind in {"store", "external", "gateway"} else ""
    return f"{node.name}{newline}{told}" if told else node.name


def _dotted(edge: GraphEdge) -> bool:
    return edge.optional or edge.kind in {"publish", "consume"}
