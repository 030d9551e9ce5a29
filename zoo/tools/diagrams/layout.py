"""Write a graph of boxes in Graphviz's language: colours by kind of layer, shaded grounds around sub-modules."""

from collections.abc import Callable, Iterator

from zoo.tools.diagrams.drawing import INK, SOFT, quote
from zoo.tools.diagrams.graph import AFTER, CIRCLE, END, MATMUL, Box, Graph

FILLS = (  # words of a box -> its colour, translucent, on light and dark grounds
    (("softmax(", "V"), "#cc4c8b40"),
    (("conv", "depthwise"), "#3a86c840"),
    (("linear",), "#e07b0040"),
    (("pool", "average", "max", "upsample"), "#1b9e7740"),
)
OTHER = "#80808030"
GROUND = "#80808018"
AT_LEAST = 3  # boxes in a group that is drawn
HEAD = (
    'graph [bgcolor="transparent", fontname="Helvetica,Arial,sans-serif", fontsize=11, nodesep=0.3, ranksep=0.28];',
    f'node [fontname="Helvetica,Arial,sans-serif", fontsize=12, color="{INK}", fontcolor="{INK}", height=0.3];',
    f'edge [color="{SOFT}", arrowsize=0.6];',
)


def source(graph: Graph, title: str, group_words: Callable[[str], str | None]) -> str:
    """Return the drawing's source.

    Args:
        graph: boxes.
        title: of the drawing; it is not drawn.
        group_words: path of a module -> what stands at its ground; None: no ground.
    """
    lines = [f"digraph {quote(title)} {{", *HEAD]
    lines += _boxes(graph, list(graph), 0, group_words)
    for key, box in graph.items():
        lines += [f"{quote(source)} -> {quote(key)};" for source in box.sources]
    return "\n".join([*lines, "}"])


def _boxes(graph: Graph, keys: list[str], depth: int, group_words: Callable[[str], str | None]) -> Iterator[str]:
    """Yield boxes, and the grounds of the groups at this depth with what is on them."""
    inside: dict[str, list[str]] = {}
    for key in keys:
        groups = graph[key].groups
        inside.setdefault(groups[depth] if len(groups) > depth else "", []).append(key)
    for path, members in inside.items():
        if not path:
            yield from (f"{quote(key)} [{_look(graph[key])}];" for key in members)
            continue
        words = group_words(path)
        layers, all_layers = (sum(graph[key].kind not in (CIRCLE, END) for key in some) for some in (members, graph))
        drawn = words is not None and AT_LEAST <= layers < all_layers
        if drawn and words is not None:
            yield f"subgraph {quote('cluster ' + path)} {{"
            yield f'label={quote(words)}; fontcolor="{SOFT}"; labeljust="l"; style="filled,rounded"; color="{GROUND}";'
        yield from _boxes(graph, members, depth + 1, group_words)
        if drawn:
            yield "}"


def _look(box: Box) -> str:
    words = quote("\n".join(_lines(box)))
    if box.kind == CIRCLE:
        return f"label={words}, shape=circle, fixedsize=true, width=0.28, fontsize=14"
    if box.kind == END:
        return f'label={words}, shape=plain, fontcolor="{SOFT}"'
    first = box.lines[0]
    fill = next((colour for parts, colour in FILLS if any(part in first for part in parts)), OTHER)
    fill = OTHER if box.kind in (AFTER, MATMUL) else fill
    return f'label={words}, shape=box, style="filled,rounded", fillcolor="{fill}"'


def _lines(box: Box) -> list[str]:
    """Return the layer, all that was joined to it, and how often they follow each other, a line each."""
    times = [line for line in box.lines if line.endswith(" times")]
    return [box.lines[0], *filter(None, [", ".join(line for line in box.lines[1:] if line not in times)]), *times]
