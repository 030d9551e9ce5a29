"""Tables of speed from lines of results/ that are written by hand; slopes by hand."""

import pytest

from recipes.command import saturation, speed, tables
from recipes.frame import growth, records
from recipes.frame.goals import GOALS


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)


def write(name, **metrics):
    line = {"arguments": {}, "seed": 0, "seconds": 1.0, "metrics": metrics, "clock": "CPU seconds"}
    records.append(name, line)


def test_a_goal_is_met_at_its_limit_and_missed_beyond(monkeypatch):
    for name in ("step", "JPEG"):
        monkeypatch.setitem(GOALS, name, GOALS[name]._replace(why=f"because {name}"))
    figures = {name: goal.goal for name, goal in GOALS.items()} | {"step": 1.0311, "logging": 69.64, "JPEG": 0.849}
    for source in {goal.source for goal in GOALS.values()}:
        write(source, **{g.metric or name: figures[name] for name, g in GOALS.items() if g.source == source})
    rows = {line.split(" | ")[0]: line for line in speed.goals().splitlines()}
    assert rows[f"| {GOALS['step'].what}"].endswith("| 1.031 | at most 1.02 | missed: because step |")
    assert rows[f"| {GOALS['logging'].what}"].endswith("| microseconds | 69.6 | at most 70 | met |")
    assert rows[f"| {GOALS['JPEG'].what}"].endswith("| 0.849 | at least 0.85 | missed: because JPEG |")
    assert rows[f"| {GOALS['Tiny-ImageNet'].what}"].endswith("| 20 | at least 20 | met |")
    assert speed.goals().count("| met |") == len(GOALS) - 2


def test_only_what_is_faster_than_float32_is_bold():
    def network(name, *speeds):
        return {
            f"{name} images": 8,
            f"{name} images/s": 21.4,
        } | {f"{name} {way}": x for way, x in zip(speed.WAYS, speeds, strict=True)}

    write("cpu_training", **network("A", 1.2, 1.9, 2.25), **network("B", 0.9, 0.8, 0.7))
    table = speed.cpu_training()
    assert "| A | 8 | 21 | 1.20 | 1.90 | **2.25** |" in table and "| B | 8 | 21 | 0.90 | 0.80 | 0.70 |" in table


def test_growth_by_hand():
    metrics = {}
    for row, sizes in {"images": (10, 100, 1000), "classes": (10, 100), "pixels": (32, 64), "tricks": (0, 5)}.items():
        for size in sizes:
            metrics |= {f"{row} {size} seconds": 1e-3, f"{row} {size} MB": 2.0 * size + 1, f"{row} {size} first": 0.1}
    metrics |= {"images 1000 first": 1.0, "pixels 64 seconds": 4e-3, "tricks 5 seconds": 1.1e-3}
    write("growth", **metrics)
    table = speed.growth()
    assert "| images | 10 to 1,000 | a batch, the first | 100.00 ms | 1,000.00 ms | 1.00 |" in table
    assert "| side in pixels | 32 to 64 | a step | 1.00 ms | 4.00 ms | 2.00 |" in table
    assert "| tricks | 0 to 5 | a step | 1.00 ms | 1.10 ms | +2.0 % each |" in table
    picture = growth.draw(growth.last()).data().decode()
    assert picture.startswith("<svg") and "prefers-color-scheme:dark" in picture


def test_reading_ahead_by_hand():
    figures = {"when needed: images/s": 50.0, "when needed: first batch s": 2.0}
    figures |= {"read ahead: images/s": 175.0, "read ahead: first batch s": 0.5}
    write("read_ahead", **{f"20 ms, {name}": value for name, value in figures.items()})
    assert "| 20 ms | 50 | 175 | 3.5 | 2.0 | 0.5 |" in speed.read_ahead()


def test_without_runs_they_say_so():
    assert {speed.goals(), speed.cpu_training(), speed.growth(), speed.read_ahead()} == {"not measured yet"}


def test_simulated_and_measured_by_hand():
    assert saturation.simulation() == tables.NOT_YET
    write("loader_jpeg", **{"bytes": 617.5, "prepared, bytes": 1e4})  # images/s of a core: a quarter of a GPU's
    rows = [line.split(" | ") for line in saturation.simulation().splitlines()]
    assert rows[2][:3] == ["| 1", "files", "2"] and rows[2][-2:] == ["0.50", "data |"]  # two cores, of four
    write("saturation", **{"20 ms, workers 1": 0.24, "two workers / one": 0.5})
    first = saturation.measurements().splitlines()[2]
    assert first.startswith("| a batch takes 200 ms, a step 20; workers: 1 | 240 | 201 | 1.19")
