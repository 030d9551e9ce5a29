"""What a diagram shows, before it is laid out: boxes, each with the boxes that it reads."""

from dataclasses import dataclass, field

END, LAYER, AFTER, CIRCLE, MATMUL, SPLIT = "end", "layer", "after", "circle", "matmul", "split"


@dataclass
class Box:
    """One box.

    Attributes:
        lines: what it says: a layer, then what was joined to it (norm, activation).
        kind: "end" (input or output), "layer", "after" (joins the box before it), "circle" (+ and ×), "matmul" or
            "split" (of channels).
        sources: keys of the boxes that it reads, in order, each once.
        groups: paths of the modules around it, outermost first.
    """

    lines: list[str]
    kind: str = LAYER
    sources: list[str] = field(default_factory=list)
    groups: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What the box says, in one line."""
        return ", ".join(self.lines)


Graph = dict[str, Box]


def readers(graph: Graph, key: str) -> list[str]:
    """Return the keys of the boxes that read this one."""
    return [other for other, box in graph.items() if key in box.sources]


def merge(graph: Graph, old: str, new: str) -> None:
    """Remove a box; those that read it read another instead."""
    graph.pop(old)
    for box in graph.values():
        box.sources = list(dict.fromkeys(new if source == old else source for source in box.sources))


def drop_unread(graph: Graph) -> Graph:
    """Return the boxes that an output depends on, and every input."""
    wanted = [key for key, box in graph.items() if box.kind == END]
    seen = set(wanted)
    while wanted:
        for source in graph[wanted.pop()].sources:
            if source not in seen:
                seen.add(source)
                wanted.append(source)
    return {key: box for key, box in graph.items() if key in seen}
