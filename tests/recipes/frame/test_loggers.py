"""Loggers by name: what is not installed is said, an unknown one too, and they share the folder of the run."""

from types import ModuleType

import pytest

from recipes.frame import loggers
from recipes.frame.loggers import MetricsFile, loggers_of


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_what_is_not_installed_is_said(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=f"pip install {kind}"):
        loggers_of(kind, tmp_path, "run")


def test_another_name_is_said(tmp_path):
    with pytest.raises(ValueError, match="no logger 'mlflow'; there are: csv, tensorboard, wandb"):
        loggers_of("mlflow", tmp_path, "run")


def test_tensorboard_writes_beside_the_metrics(tmp_path):
    pytest.importorskip("tensorboard", reason="an optional logger")
    found = loggers_of("tensorboard", tmp_path, "run")
    assert [one.log_dir for one in found] == [f"{tmp_path}/", f"{tmp_path}/"]


def test_wandb_has_the_runs_name(tmp_path, monkeypatch):
    """Its arguments: the package itself asks for an account."""
    given = {}
    fake = ModuleType("fake")
    fake.WandbLogger = lambda **arguments: given.update(arguments)
    monkeypatch.setattr(loggers, "find_spec", lambda name: True)
    monkeypatch.setattr(loggers, "import_module", lambda name: fake)
    first, _ = loggers_of("wandb", tmp_path, "digits")
    assert isinstance(first, MetricsFile) and given == {"project": "digits", "save_dir": tmp_path}


def test_rows_before_the_step_are_kept(tmp_path):
    for step, rows in ((0, 4), (2, 6)):
        log = MetricsFile(tmp_path, step)
        for i in range(step, rows):
            log.log_metrics({"loss": float(i + step)}, i)
        log.finalize("done")
    rows = [line.split(",") for line in (tmp_path / "metrics.csv").read_text().split()]
    assert rows[0] == ["loss", "step"]
    assert [(float(loss), int(step)) for loss, step in rows[1:]] == [(0, 0), (1, 1), (4, 2), (5, 3), (6, 4), (7, 5)]
