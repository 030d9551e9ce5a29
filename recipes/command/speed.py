"""Write the tables of speed: goals, training on a CPU, growth; `make tables` puts them in place."""

from recipes.command import tables
from recipes.frame import growth as grown
from recipes.frame import records
from recipes.frame.goals import GOALS

WAYS = ("float32 channels_last", "bf16", "bf16 channels_last")


def goals() -> str:
    """Write each goal, its figure in the last run of its benchmark, and the reason where it is missed."""
    last = {name: runs[-1] for name in dict.fromkeys(g.source for g in GOALS.values()) if (runs := records.read(name))}
    rows = []
    for name, goal in GOALS.items():
        if goal.source not in last:
            continue
        found = last[goal.source]["metrics"][goal.metric or name]
        figure, most = _short(found, goal.by, 3), _short(goal.goal, goal.by, 2)
        wanted = f"at {'least' if goal.least else 'most'} {most}"
        rows.append([goal.what, goal.by, figure, wanted, "met" if goal.is_met(found) else f"missed: {goal.why}"])
    if not rows:
        return tables.NOT_YET
    names = ", ".join(f"`benchmarks/{name}.py`" for name in last)
    facts = f"- Hardware: {tables.hardware([*last.values()][0])}\n- Commands: {names}; each says what it measures"
    return f"{tables.markdown(['ours', 'by', 'figure', 'goal', 'verdict'], rows)}\n\n{facts}"


def cpu_training() -> str:
    """Write the last run of benchmarks/cpu_training.py: a row a network, the fastest way in bold."""
    runs = records.read("cpu_training")
    if not runs:
        return tables.NOT_YET
    metrics, rows = runs[-1]["metrics"], []
    for name in (name.removesuffix(" images/s") for name in metrics if name.endswith(" images/s")):
        speeds = [metrics[f"{name} {way}"] for way in WAYS]
        cells = [f"**{x:.2f}**" if x == max(speeds) > 1 else f"{x:.2f}" for x in speeds]
        rows.append([name, str(metrics[f"{name} images"]), f"{metrics[f'{name} images/s']:.0f}", *cells])
    heads = ["network", "images a step", "images a CPU second, float32", *WAYS]
    return _with_source(tables.markdown(heads, rows), "cpu_training", runs[-1])


def growth() -> str:
    """Write the last run of benchmarks/growth.py: smallest and largest size, and the slope between the last two."""
    metrics = grown.last()
    if metrics is None:
        return tables.NOT_YET
    rows = []
    for row, (label, per, figures) in grown.ROWS.items():
        for figure in figures:
            points = grown.curve(metrics, row, figure)
            low, high = min(points), max(points)
            what = "memory at the peak" if figure == "MB" else f"{per}, the first" if figure == "first" else per
            ends = f"{low:,} to {high:,}"
            rows.append(
                [label, ends, what, _figure(points[low], figure), _figure(points[high], figure), _growth(points)]
            )
    heads = ["what grows", "from, to", "figure", "at the smallest", "at the largest", "slope"]
    return _with_source(tables.markdown(heads, rows), "growth", records.read("growth")[-1])


def read_ahead() -> str:
    """Write the last run of benchmarks/read_ahead.py: a row for each time that the server waits."""
    runs = records.read("read_ahead")
    if not runs:
        return tables.NOT_YET
    metrics, rows, ways = runs[-1]["metrics"], [], ("when needed", "read ahead")
    delays = {name.partition(",")[0] for name in metrics}
    for delay in sorted(delays, key=lambda delay: float(delay.removesuffix(" ms"))):
        rates, firsts = ([metrics[f"{delay}, {way}: {what}"] for way in ways] for what in ("images/s", "first batch s"))
        rows.append([delay, *(f"{x:.0f}" for x in rates), f"{rates[1] / rates[0]:.1f}", *(f"{x:.1f}" for x in firsts)])
    first = [f"first batch {way}, s" for way in ways]
    heads = ["server waits", *(f"images/s {way}" for way in ways), "times as many", *first]
    return _with_source(tables.markdown(heads, rows), "read_ahead", runs[-1])


def _short(value: float, by: str, digits: int) -> str:
    """Write a figure of the goals; microseconds and levels have one digit, or none if they are whole numbers."""
    whole = by in ("microseconds", "levels from PIL") or value >= 10
    return f"{value:.1f}".removesuffix(".0") if whole else f"{value:.{digits}f}"


def _figure(value: float, figure: str) -> str:
    return f"{value:,.1f} MB" if figure == "MB" else f"{1e3 * value:,.2f} ms"


def _growth(points: grown.Curve) -> str:
    """Say how a figure grows: the exponent, or for a size that begins at 0, the change a unit."""
    low, high = min(points), max(points)
    if low == 0:
        return f"{100 * (points[high] / points[low] - 1) / high:+.1f} % each"
    return f"{grown.slope(points):.2f}"


def _with_source(table: str, name: str, run: records.Record) -> str:
    facts = [f"Clock: {run['clock']}", f"Hardware: {tables.hardware(run)}", f"Command: `python benchmarks/{name}.py`"]
    return f"{table}\n\n" + "\n".join(f"- {fact}" for fact in facts)
