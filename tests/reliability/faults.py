"""The faults that `plant.py` plants: places in the code, what stands there, and what is put in its place."""

import ast
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOMS = ("zoo", "zoo/*", "callbacks/*", "callbacks/frame", "datamodules", "datamodules/frame", "recipes/frame")
COMPARED = {
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.In: (" in ", " not in "),
    ast.NotIn: (" not in ", " in "),
    ast.Is: (" is ", " is not "),
    ast.IsNot: (" is not ", " is "),
}
SIGNS = {ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*")}
PLANES = ({"h", "w"}, {"height", "width"}, {"rows", "columns"}, {"H", "W"})
AXES = {1: "0", 2: "3", 3: "2", -1: "-2", -2: "-1"}
ENOUGH = {"clamp", "clamp_", "clamp_min", "clamp_max", "clip"}
SAID = {"rank_zero_info", "rank_zero_warn", "warn", "print", "info", "warning", "add_argument"}
WITH_AXES = {
    "mean",
    "sum",
    "softmax",
    "argmax",
    "amax",
    "amin",
    "flatten",
    "cat",
    "stack",
    "transpose",
    "size",
    "cumsum",
}


@dataclass(frozen=True)
class Fault:
    """One change: `old` at `line` and `column` of `file` becomes `new`."""

    number: int
    kind: str
    file: str
    line: int  # from 1
    column: int  # from 0, in bytes
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.kind}: {self.old!r} -> {self.new!r}"


def plant(source: str, fault: Fault) -> str:
    """Return the source with the fault. The nearest line with `old` in the same column counts, should lines have moved.

    Raises:
        ValueError: the code is no longer there.
    """
    lines, old = source.encode().splitlines(keepends=True), fault.old.encode()
    here = [i for i in range(len(lines)) if b"".join(lines[i:])[fault.column :].startswith(old)]
    if not here:
        raise ValueError(f"no longer there: {fault}")
    at = min(here, key=lambda i: abs(i + 1 - fault.line))
    rest = b"".join(lines[at:])
    rest = rest[: fault.column] + fault.new.encode() + rest[fault.column + len(old) :]
    return (b"".join(lines[:at]) + rest).decode()


def draw(root: Path, seed: int, n: int) -> list[Fault]:
    """Draw n faults: rooms take turns; in a room first a kind is drawn, then a place; files take turns too."""
    generator, found, used = random.Random(seed), [], set()
    rooms = [list(places(root, room)) for room in ROOMS]
    while len(found) < n:
        room = [f for f in rooms[len(found) % len(rooms)] if f.file not in used]
        if not room:  # every file of this room has one
            used -= {f.file for f in rooms[len(found) % len(rooms)]}
            continue
        kind = generator.choice(sorted({f.kind for f in room}))
        fault = generator.choice([f for f in room if f.kind == kind])
        rooms[len(found) % len(rooms)].remove(fault)
        if not parses(plant((root / fault.file).read_text(), fault)):
            continue
        used.add(fault.file)
        found.append(Fault(**{**vars(fault), "number": len(found) + 1}))
    return found


def places(root: Path, room: str) -> Iterator[Fault]:
    """Yield every fault of a room of files; `zoo/*` are the folders in zoo, `callbacks/*` those without the frame."""
    package = room.split("/")[0]
    files = (root / package).rglob("*.py") if room.endswith("*") else (root / room).glob("*.py")
    if room == "datamodules":
        files = [*files, *(root / room / "transforms").glob("*.py")]
    for path in sorted(files):
        name = path.relative_to(root).as_posix()
        other = room.endswith("*") and (path.parent.name == package or name.startswith("callbacks/frame"))
        if path.stem in {"__init__", "costs"} or other:
            continue
        source = path.read_text()
        for kind, start, end, new in changes(source):
            before = source.encode()[:start]
            line, column = before.count(b"\n") + 1, start - (before.rfind(b"\n") + 1)
            old = source.encode()[start:end].decode()
            if old != new:
                yield Fault(0, kind, name, line, column, old, new)


def parses(source: str) -> bool:
    try:
        ast.parse(source)
    except SyntaxError:
        return False
    return True


def changes(source: str) -> Iterator[tuple[str, int, int, str]]:
    """Yield (kind, start, end, new text), offsets in bytes."""
    text = source.encode()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def span(node: ast.AST) -> tuple[int, int]:
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    def of(node: ast.AST) -> str:
        return text[slice(*span(node))].decode()

    for node in executed(ast.parse(source)):
        yield from _expressions(node, span, of, text)
        yield from _statements(node, span, of)


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes whose change could change what the code does: no annotations, messages or printed forms."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert):
            continue
        if isinstance(node, ast.AnnAssign | ast.arg) and child is node.annotation:
            continue
        if isinstance(child, ast.FunctionDef) and child.name in {"__repr__", "__str__"}:
            continue
        if isinstance(child, ast.Assign) and getattr(child.targets[0], "id", "") in {"examples", "__all__"}:
            continue
        if isinstance(node, ast.FunctionDef) and child is node.returns:
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from executed(child)


def _expressions(node, span, of, text):
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        old, new = COMPARED[type(node.ops[0])]
        start, end = span(node.left)[1], span(node.comparators[0])[0]
        if old in text[start:end].decode():
            yield "comparison", start, end, text[start:end].decode().replace(old, new)
    if isinstance(node, ast.BinOp) and type(node.op) in SIGNS:
        old, new = SIGNS[type(node.op)]
        start, end = span(node.left)[1], span(node.right)[0]
        yield "sign", start, end, text[start:end].decode().replace(old, new)
    if isinstance(node, ast.UnaryOp):
        kind = "boolean" if isinstance(node.op, ast.Not) else "sign"
        yield kind, *span(node), of(node.operand)
    if isinstance(node, ast.BoolOp):
        old, new = (" and ", " or ") if isinstance(node.op, ast.And) else (" or ", " and ")
        start, end = span(node.values[0])[1], span(node.values[1])[0]
        if len(node.values) == 2 and old in text[start:end].decode():
            yield "boolean", start, end, text[start:end].decode().replace(old, new)
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield "boolean", *span(node), str(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield "off by one", *span(node), str(node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float):
        yield "constant", *span(node), repr(node.value * 2 or 0.1)
    if isinstance(node, ast.FunctionDef):
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            if isinstance(default, ast.Constant) and isinstance(default.value, int | float):
                value = default.value
                new = (
                    not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else value * 2 or 0.1
                )
                yield "default", *span(default), repr(new)
    if isinstance(node, ast.IfExp):
        yield "boolean", *span(node.test), f"not ({of(node.test)})"
    yield from _calls(node, span, of)
    yield from _planes(node, span, of, text)


def _calls(node, span, of):
    if not isinstance(node, ast.Call):
        if isinstance(node, ast.Attribute) and node.attr in {"no_grad", "inference_mode"}:
            yield "gradient", *span(node), f"{of(node.value)}.enable_grad"
        return
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if isinstance(node.func, ast.Attribute):
        if name in {"detach", "clone"} and not node.args:
            yield "gradient", *span(node), of(node.func.value)
        if name in ENOUGH:
            yield "clamp", *span(node), of(node.func.value)
        if name in {"permute", "transpose", "movedim"}:
            yield "axes", *span(node), of(node.func.value)
    if name in {"min", "max"} and isinstance(node.func, ast.Name) and len(node.args) == 2:
        yield "clamp", *span(node), f"({of(node.args[0])})"
        yield "clamp", *span(node), f"({of(node.args[1])})"
    if name in WITH_AXES:
        axes = [*node.args, *(k.value for k in node.keywords if k.arg == "dim")]
        yield from (("axes", *span(a), AXES[v]) for a in axes if (v := _integer(a)) in AXES)


def _planes(node, span, of, text):
    shape = isinstance(node, ast.Subscript) and getattr(node.value, "attr", "") == "shape"
    if shape and (value := _integer(node.slice)) in AXES:
        yield "axes", *span(node.slice), AXES[value]
    items = node.elts if isinstance(node, ast.Tuple | ast.List) else node.args if isinstance(node, ast.Call) else []
    for one, two in zip(items, items[1:], strict=False):
        words = {getattr(part, "id", getattr(part, "attr", None)) for part in (one, two)}
        if words in PLANES:
            start, end = span(one)[0], span(two)[1]
            between = text[span(one)[1] : span(two)[0]].decode()
            yield "height and width", start, end, of(two) + between + of(one)


def _statements(node, span, of):
    if isinstance(node, ast.If | ast.While):
        yield "boolean", *span(node.test), f"not ({of(node.test)})"
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        name = getattr(node.value.func, "attr", getattr(node.value.func, "id", ""))
        if name in SAID or of(node).startswith("super().__init__"):  # too easy to notice, or only words
            return
        in_place = name.endswith("_") or name in {"clear", "remove", "reset", "pop", "update"}
        yield "reset" if in_place else "statement", *span(node), "pass"
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute):
        empty = isinstance(node.value, ast.Constant | ast.List | ast.Dict) and not getattr(node.value, "elts", ())
        if empty:
            yield "reset", *span(node), "pass"
    if isinstance(node, ast.AugAssign) and type(node.op) in SIGNS:
        old, new = SIGNS[type(node.op)]
        start, end = span(node.target)[1], span(node.value)[0]
        yield "sign", start, end, f" {new}= "


def _integer(node: ast.AST) -> int | None:
    sign = -1 if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else 1
    value = getattr(node.operand if sign < 0 else node, "value", None)
    return sign * value if isinstance(value, int) and not isinstance(value, bool) else None
