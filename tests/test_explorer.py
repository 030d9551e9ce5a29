"""The explorer: its runs are those of results/, its intervals are t intervals, and a browser shows and filters them."""

import json
import shutil

import pytest
from builder import explorer
from scipy import stats

from recipes.frame import records

LINES = ["digits_ladder", "attention_transfer_cifar"]  # a recipe of seeds, and one of pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    explorer.write_explorer(folder)
    return folder


@pytest.fixture(scope="module")
def runs(folder):
    return json.loads((folder / "runs.js").read_text().removeprefix("const RUNS = ").removesuffix(";\n"))


def test_every_run_with_an_accuracy_is_a_dot(runs):
    for name in LINES:
        there = sorted((run["seconds"], run["accuracy"]) for run in runs if run["regime"] == name)
        lines = records.read(name)
        best = [  # averages, where they were scored
            next((v for k, v in r["metrics"].items() if k.startswith("test/acc_")), r["metrics"]["test/acc"])
            for r in lines
        ]
        wanted = sorted(zip((round(r["seconds"], 1) for r in lines), (round(100 * v, 3) for v in best), strict=True))
        assert there == wanted and there
    assert not {"verify", "tricks", "loader_cifar"} & {run["regime"] for run in runs}


def test_the_interval_of_seeds_by_scipy():
    values = [61.0, 64.5, 62.0, 60.25]
    low, high = stats.t.interval(0.95, 3, loc=61.9375, scale=stats.sem(values))
    assert explorer.interval(values) == (round(low, 3), round(high, 3))
    assert explorer.interval([61.0]) == (None, None)
    assert explorer.interval([99.0, 80.0])[1] == 100


def test_networks_tricks_and_costs():
    pair = {"pair": "WRN-16-2 -> WRN-16-1", "method": "KD"}
    assert explorer.network_of("attention_transfer_cifar", pair) == "WRN-16-1"
    assert explorer.network_of("attention_transfer_cifar", pair | {"method": "teacher"}) == "WRN-16-2"
    assert explorer.network_of("somebody_elses", {}) == "somebody_elses"
    assert explorer.count("somebody_elses", "somebody_elses", {}) == (None, None)
    assert [explorer.trick_of({"method": word}) for word in ("KD", "student", "")] == [
        "KnowledgeDistillation",
        "none",
        "none",
    ]
    assert explorer.network_of("cifar10_resnet20", {}) == "ResNet-20"
    parameters, macs = explorer.count("cifar10_resnet20", "ResNet-20", {})
    assert parameters == 269_722  # of the paper's network with ten classes
    assert macs == pytest.approx(41e6, rel=0.02)
    # 784 x 30 + 30 x 10 weights, 40 biases
    assert explorer.of_row("nielsen_l2", "L2") == ("MLP 30", (23_860, 23_820))


def test_every_run_has_its_costs(runs):
    assert all(run["parameters"] and run["macs"] for run in runs)


def test_a_regime_has_the_noise_of_all_its_arms(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    accuracies = {"none": (0.66, 0.67, 0.665), "MixUp": (0.68, 0.70), "teacher": (0.71,), "CutMix": (0.1, 0.68)}
    for arm, values in accuracies.items():
        for seed, value in enumerate(values):
            arguments = {
                "arm": arm,
                "as": arm,
                "value": None,
                "lr": 0.1,
                "images": 4000,
                "epochs": 60,
                "precision": "32-true",
            }
            metrics = {"test/acc": value, "test/loss": 1.0}
            run = {"arguments": arguments, "seed": seed, "metrics": metrics, "seconds": 335.0}
            records.append("data_is_short", run | {"hardware": {}, "versions": {}, "commit": ""})
    shown = {run["trick"]: run for run in explorer.dots()}
    # squares around the arms' means: 0.5 of none, 2 of MixUp, with 2 + 1 degrees of freedom; CutMix's one run is alone
    half = stats.t.ppf(0.975, 3) * (2.5 / 3) ** 0.5 / 2**0.5
    assert (shown["MixUp"]["low"], shown["MixUp"]["high"]) == pytest.approx((69 - half, 69 + half), abs=1e-3)
    assert shown["CutMix"]["low"] is None  # one of its runs diverged
    assert (shown["none"]["network"], shown["teacher"]["network"]) == ("WRN-16-2", "WRN-40-2")


def test_nothing_is_fetched(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {"index.html", "explorer.css", "explorer.js", "runs.js"}
    text = "".join((folder / name).read_text() for name in names - {"runs.js"})
    assert text.count("http") == text.count("http://www.w3.org/2000/svg")


@pytest.fixture(scope="module")
def browser():
    chromium = pytest.importorskip("chromium", reason="playwright is not installed")
    if shutil.which("chromium") is None:
        pytest.skip("there is no chromium")
    with chromium.open_browser() as browser:
        yield browser


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_in_a_browser(browser, folder, runs, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    asked, said = [], []
    context.on("request", lambda request: asked.append(request.url))
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"{(folder / 'index.html').as_uri()}#regime=digits_ladder&x=parameters")
    dots = page.locator(".dot")

    def count(**wanted):
        return sum(all(run[key] == value for key, value in wanted.items()) for run in runs)

    assert dots.count() == count(regime="digits_ladder") > 0  # what the address asks for
    page.get_by_label("Trick", exact=True).select_option("+ mixup")
    assert dots.count() == count(regime="digits_ladder", trick="+ mixup") > 0
    assert "trick=%2B+mixup" in page.url
    page.get_by_role("button", name="Show all").click()
    page.wait_for_function(f"document.querySelectorAll('#explorer .dot').length === {len(runs)}")
    page.get_by_label("Network", exact=True).select_option("WRN-16-1")
    assert dots.count() == count(network="WRN-16-1") > 0
    page.get_by_label("Regime", exact=True).select_option("digits_resnet20")
    assert dots.count() == 0 and page.get_by_text("No run fits these filters.").is_visible()
    page.get_by_role("button", name="Show all").click()
    page.get_by_label("Across", exact=True).select_option("macs")
    counted = sum(run["macs"] is not None for run in runs)
    assert dots.count() == counted and f"{counted} of {len(runs)}" in page.locator(".count").inner_text()

    assert page.locator(".dot[tabindex='0']").count() == 1  # one stop of the tab key
    dots.first.focus()
    page.keyboard.press("ArrowRight")
    label = page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert label == dots.nth(1).get_attribute("aria-label") == page.locator(".said").inner_text()
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement === [...document.querySelectorAll('#explorer .dot')].at(-1)")
    assert page.locator("#explorer tbody tr").count() == counted

    colour = page.evaluate("getComputedStyle(document.querySelector('#explorer svg text')).fill")
    ground = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert (sum(map(int, colour[4:-1].split(","))) > sum(map(int, ground[4:-1].split(",")))) == (scheme == "dark")
    assert not page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert said == [] and {url.split(":")[0] for url in asked} <= {"file", "data"}
    context.close()
