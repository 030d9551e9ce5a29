"""The faults that are planted: each kind by hand, only where code runs, the same for the same seed."""

from pathlib import Path

import pytest

from tests.reliability.concerned import concerned
from tests.reliability.faults import Fault, changes, draw, plant

ROOT = Path(__file__).resolve().parents[2]


def mutants(source: str) -> set[tuple[str, str]]:
    text = source.encode()
    return {(kind, (text[:start] + new.encode() + text[end:]).decode()) for kind, start, end, new in changes(source)}


@pytest.mark.parametrize(
    ("source", "kind", "mutant"),
    [
        ("a < b", "comparison", "a <= b"),
        ("a not in b", "comparison", "a in b"),
        ("x - y", "sign", "x + y"),
        ("-x", "sign", "x"),
        ("t += x", "sign", "t -= x"),
        ("not a", "boolean", "a"),
        ("a and b", "boolean", "a or b"),
        ("if a:\n    b()", "boolean", "if not (a):\n    b()"),
        ("f(True)", "boolean", "f(False)"),
        ("range(3)", "off by one", "range(4)"),
        ("x * 0.5", "constant", "x * 1.0"),
        ("def f(p=0.5): pass", "default", "def f(p=1.0): pass"),
        ("x.detach()", "gradient", "x"),
        ("with torch.no_grad():\n    f()", "gradient", "with torch.enable_grad():\n    f()"),
        ("x.clamp(0, 1)", "clamp", "x"),
        ("max(a, b)", "clamp", "(b)"),
        ("x.mean(-1)", "axes", "x.mean(-2)"),
        ("x.softmax(dim=1)", "axes", "x.softmax(dim=0)"),
        ("x.shape[2]", "axes", "x.shape[3]"),
        ("x.transpose(1, 2)", "axes", "x"),
        ("f(height, width)", "height and width", "f(width, height)"),
        ("hooks.clear()", "reset", "pass"),
        ("self.x = None", "reset", "pass"),
        ("module.eval()", "statement", "pass"),
    ],
)
def test_each_kind_by_hand(source, kind, mutant):
    assert (kind, mutant) in mutants(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""At most 3 < 4."""',
        "def f(x: Literal[3]) -> Literal[4]: ...",
        'raise ValueError(f"{x + 1} is not {y}")',
        "class A:\n    def __repr__(self):\n        return self.a + 1",
        "if TYPE_CHECKING:\n    f(1)\n",
        'warnings.warn("x")',
        "examples = ({'p': 0.5},)",
    ],
)
def test_words_and_types_are_left_alone(source):
    assert mutants(source) == set()


def test_a_fault_is_found_again_where_lines_have_moved():
    fault = Fault(1, "sign", "x.py", 2, 6, " + ", " - ")
    assert plant("a = 1\nb = é + 1\n", fault) == "a = 1\nb = é - 1\n"
    assert plant("# one\n# two\na = 1\nb = é + 1\n", fault) == "# one\n# two\na = 1\nb = é - 1\n"
    with pytest.raises(ValueError, match="no longer there"):
        plant("b = 2\n", fault)


def test_the_seed_decides(tmp_path):
    for folder in (
        "zoo",
        "zoo/frame",
        "callbacks/loss",
        "callbacks/frame",
        "datamodules",
        "datamodules/frame",
        "recipes/frame",
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "a.py").write_text("def f(x, p=0.5):\n    return x.detach() + p if x > 1 else -x\n")
    drawn = [draw(tmp_path, seed, 14) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2] and draw(tmp_path, 1, 7) == drawn[0][:7]
    assert [fault.number for fault in drawn[0]] == [*range(1, 15)] and len({f.file for f in drawn[0]}) == 7


@pytest.mark.parametrize(
    ("file", "test", "name"),
    [
        ("zoo/resnet.py", "tests/zoo/test_resnet.py", "[ResNet]"),
        ("callbacks/data/mixup.py", "tests/callbacks/data/test_mixup.py", "[MixUp]"),
        ("callbacks/frame/masks.py", "tests/callbacks/dropout/test_drop_block.py", ""),
        ("recipes/frame/cards.py", "tests/recipes/command/test_card.py", ""),
    ],
)
def test_what_concerns_a_file(file, test, name):
    own, contracts, *slow = concerned(ROOT, file)
    assert test in own.paths and name in contracts.names and own.marks.startswith("not slow")
    assert [stage.paths for stage in slow] == [own.paths, contracts.paths]
