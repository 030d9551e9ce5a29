"""Make few boxes of many, as a paper's figure has them."""

from zoo.tools.diagrams.graph import AFTER, CIRCLE, END, MATMUL, Graph, drop_unread, merge, readers

SCORES = "softmax(QKᵀ/√d{})"


def tidy(graph: Graph) -> Graph:
    """Return the boxes that the output needs: attention is one box, norm and activation join the box before them."""
    graph = drop_unread(graph)
    _merge_attention(graph)
    _name_attention(graph)
    _merge_sums(graph)
    _join(graph)
    _collapse(graph)
    return graph


def _merge_attention(graph: Graph) -> None:
    """Make one box of matmul, scale, bias, softmax and, where nothing else reads the map, the second matmul."""
    for key, box in list(graph.items()):
        if box.lines != ["softmax"] or not (chain := _scores(graph, key)):
            continue
        added = "".join(f" {w}" for k in chain[:-1] for w in graph[k].lines if w.startswith("+"))
        box.lines, box.kind, first = [SCORES.format(added)], "layer", graph[chain[-1]]
        box.sources = list(first.sources)
        for other in chain:
            graph.pop(other)
        after = readers(graph, key)
        if len(after) == 1 and graph[after[0]].kind == MATMUL:
            second = graph[after[0]]
            box.lines = [box.lines[0] + "V"]
            box.sources = list(dict.fromkeys([*box.sources, *(s for s in second.sources if s != key)]))
            _move_to(graph, key, after[0])


def _move_to(graph: Graph, key: str, place: str) -> None:
    """Put a box where another one stands, in place of it: it may read what came between."""
    box = graph.pop(key)
    items = [(key, box) if k == place else (k, b) for k, b in graph.items()]
    graph.clear()
    graph.update(items)
    for other in graph.values():
        if other is not box:
            other.sources = [key if source == place else source for source in other.sources]


def _scores(graph: Graph, key: str) -> list[str]:
    """Return the boxes from before a softmax back to the matmul, if that is all there is."""
    chain: list[str] = []
    while True:
        sources = graph[key].sources
        steps = [s for s in sources if graph[s].kind in (AFTER, MATMUL, CIRCLE)]
        if len(sources) != 1 or len(steps) != 1 or readers(graph, steps[0]) != [key]:
            return []
        key = steps[0]
        chain.append(key)
        if graph[key].kind == MATMUL:
            return chain


def _name_attention(graph: Graph) -> None:
    """Name the products of attention whose scores are also read or changed elsewhere."""
    for key, box in graph.items():
        if box.kind == MATMUL and box.lines == ["matmul"]:
            softmax = any(graph[source].lines[0].startswith("softmax") for source in box.sources)
            box.lines = ["· V" if softmax else "QKᵀ" if _reaches_softmax(graph, key) else "matmul"]


def _reaches_softmax(graph: Graph, key: str) -> bool:
    after = readers(graph, key)
    while after and graph[after[0]].kind in (AFTER, CIRCLE):
        if graph[after[0]].lines == ["softmax"]:
            return True
        after = readers(graph, after[0])
    return False


def _merge_sums(graph: Graph) -> None:
    """Make one sum of three terms of a sum and what is added to it, where nothing else reads the first."""
    for key, box in list(graph.items()):
        for source in [source for source in box.sources if graph[source].lines == ["+"] == box.lines]:
            if readers(graph, source) == [key]:
                terms = [*graph.pop(source).sources, *(other for other in box.sources if other != source)]
                box.sources = list(dict.fromkeys(terms))


def _join(graph: Graph) -> None:
    """Write norms, activations and scales into the box before them, where it is read by nothing else."""
    for key, box in list(graph.items()):
        if box.kind != AFTER or len(box.sources) != 1:
            continue
        before = graph[box.sources[0]]
        if before.kind in (END, CIRCLE) or readers(graph, box.sources[0]) != [key]:
            continue
        before.lines += box.lines
        merge(graph, key, box.sources[0])


def _collapse(graph: Graph) -> None:
    """Write boxes that say the same and follow each other as one: "3×3 conv, 64", "ReLU", "2 times"."""
    counts: dict[str, int] = {}
    for key, box in list(graph.items()):
        if len(box.sources) != 1 or box.kind in (END, CIRCLE):
            continue
        before = box.sources[0]
        if graph[before].lines == box.lines and readers(graph, before) == [key]:
            counts[key] = counts.pop(before, 1) + 1
            box.sources = list(graph[before].sources)
            graph.pop(before)
    for key, n in counts.items():
        graph[key].lines.append(f"{n} times")
