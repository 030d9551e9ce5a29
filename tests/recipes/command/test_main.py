"""The console command `zoo`: help without torch, lists, one line for a wrong name, YAML there and back."""

import subprocess
import sys
import warnings

import pytest
import yaml
from lightning.pytorch.utilities.exceptions import SIGTERMException
from PIL import Image

import callbacks
import datamodules
import zoo
from recipes.command import lightning as lightning_module
from recipes.command import main as main_module
from recipes.frame import catalogue, records
from zoo.frame.graceful_stop import GracefulStop


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(records, "RESULTS", tmp_path / "results")
    # LightningCLI 2.6 calls a method of the parser that jsonargparse has renamed.
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")


@pytest.fixture
def run(monkeypatch, capsys):
    """`zoo` with these arguments, in this process: (exit code, standard output, standard error)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["zoo", *arguments])
        try:
            main_module.main()
            code = 0
        except SystemExit as exit:
            code = exit.code or 0
        return code, *capsys.readouterr()

    return run


@pytest.mark.parametrize("arguments", [[], ["--help"], ["--version"], ["recipes"], ["models"], ["tricks"], ["data"]])
def test_help_and_lists_need_no_torch(arguments):
    code = f"import sys; sys.argv[1:] = {arguments}; from recipes.command.main import main; main()"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=catalogue.ROOT)


MODELS = [*zoo.__all__, *zoo.SEGMENTERS]
TRICKS = [*callbacks.__all__, *callbacks.OF_BOXES]
LISTS = [("models", MODELS), ("tricks", TRICKS), ("data", datamodules.__all__)]


@pytest.mark.parametrize(("command", "names"), LISTS, ids=[command for command, _ in LISTS])
def test_lists_hold_every_public_name_and_its_line(run, command, names):
    code, out, _ = run(command)
    assert code == 0
    assert sorted(line.split()[0] for line in out.splitlines()) == sorted(names)
    assert all(len(line.split()) > 3 for line in out.splitlines())


def test_models_are_listed_with_what_they_cost(run):
    (line,) = (line for line in run("models")[1].splitlines() if line.startswith("ResNet "))
    assert line.split()[:7] == ["ResNet", "50", "25.6", "M", "4.09", "G", "MACs"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, ""),
        (999, "999"),
        (41_300, "41.3 k"),
        (25_557_032, "25.6 M"),
        (723_000_000, "723 M"),
        (3_857_973_248, "3.86 G"),
    ],
)
def test_counts_have_three_digits(number, words):
    assert catalogue._short(number) == words


def test_every_model_has_been_counted():
    assert list(catalogue.COSTS) == MODELS, "run `make tables`"


@pytest.mark.slow
def test_counts_are_those_of_the_models():
    from recipes.command import tables as tables_module

    assert tables_module.COSTS.read_text() == tables_module.costs(), "run `make tables`"


def test_tricks_are_listed_with_their_rooms(run):
    assert any(line.split()[:2] == ["MixUp", "data"] for line in run("tricks")[1].splitlines())


def test_tricks_by_where_they_regularise(run):
    code, out, _ = run("tricks", "--by", "taxonomy")
    rows = [(line.split()[0], line[max(map(len, TRICKS)) + 2 :]) for line in out.splitlines()]
    assert code == 0 and sorted(name for name, _ in rows) == sorted(TRICKS)
    for name, rest in rows:
        assert rest.startswith(f"{getattr(callbacks, name).taxonomy or '-'} ")
    places = list(dict.fromkeys(getattr(callbacks, name).taxonomy for name, _ in rows))
    assert places == ["data", "architecture", "error term", "penalty", "optimisation", None]
    assert run("tricks", "--by=room") == run("tricks")


@pytest.mark.parametrize("arguments", [["--by"], ["--by", "paper"], ["taxonomy"]])
def test_tricks_by_something_else(run, arguments):
    assert run("tricks", *arguments)[::2] == (2, f"zoo: zoo tricks [--by room|taxonomy], not {' '.join(arguments)!r}\n")


def test_recipes_are_listed(run):
    names = [line.split()[0] for line in run("recipes")[1].splitlines()]
    assert names == [path.stem for path in sorted((catalogue.ROOT / "recipes").glob("[!_]*.py"))]
    assert {"cifar10_resnet20", "digits_resnet20"} <= {*names}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "no command 'rnu'; did you mean run?"),
        (["run", "digit_resnet20"], "no recipe 'digit_resnet20'; did you mean digits_resnet20"),
        (["fit", "--model", "RestNet"], "no model 'RestNet'; did you mean ResNet"),
        (["fit", "--model=restnet"], "no model 'restnet'; did you mean ResNet"),
        (["fit", "--model", "ResNet", "--trainer.callbacks+=MixUpp"], "no trick 'MixUpp'; did you mean MixUp"),
        (["fit", "--trainer.callbacks", "MixUpp"], "no trick 'MixUpp'; did you mean MixUp"),
        (["test", "--model", "ResNet", "--data", "CIFAR11"], "no data module 'CIFAR11'; did you mean CIFAR10"),
        (["run", "digits_resnet20", "--epochs", "ten"], "epochs"),
        (["run", "cifar10_resnet20", "--budget", "2"], "budget is a fraction of the published run, in (0, 1], got 2.0"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_right_one(run, arguments, said):
    code, out, err = run(*arguments)
    assert code == 2 and out == ""
    assert err.startswith("zoo: ") and err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "ResNet", "--model.varient", "20"], "'varient' is not accepted; did you mean variant"),
        (["--model", "ResNet", "--model.variant", "21", "--data", "Digits"], "no '21'"),
        (["--trainer.max_epochs", "x"], "trainer.max_epochs"),
    ],
)
def test_a_wrong_option_of_fit_is_one_line(run, arguments, said):
    code, _, err = run("fit", *arguments)
    assert code == 2
    assert err.splitlines()[-1].startswith("zoo: ") and said in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_wrong_name_in_a_file_is_one_line(run, tmp_path):
    (tmp_path / "run.yaml").write_text("model:\n  class_path: RestNet\n")
    code, _, err = run("fit", "--config", "run.yaml")
    assert code == 2 and "did you mean ResNet" in err.splitlines()[-1]


def test_a_fault_keeps_its_traceback(run, monkeypatch):
    monkeypatch.setitem(main_module.LISTS, "recipes", lambda: [None])
    with pytest.raises(AttributeError):  # in our own code, where nothing raised it on purpose
        run("recipes")


def test_lightnings_own_callbacks_have_names_too():
    main_module._check_names(["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks", "my.module.Trick"])


@pytest.mark.parametrize("name", [entry.name for entry in catalogue.recipes()])
def test_help_of_a_recipe_has_the_texts_of_its_docstring(run, name):
    code, out, _ = run("run", name, "--help")
    assert code == 0
    assert "--record" in out and "add each run to results/" in " ".join(out.split())


def test_run_trains_tests_and_saves(run, tmp_path):
    small = ["--epochs", "3", "--batch_size", "256"]
    code, out, _ = run("run", "digits_resnet20", *small, "--seeds", "2", "--save", "out", "--record")
    assert code == 0
    assert "test/acc" in out and "(2 seeds)" in out
    assert (tmp_path / "out" / "seed1" / "model.ckpt").exists() and (tmp_path / "out" / "seed0" / "report.png").exists()
    assert [record["seed"] for record in records.read("digits_resnet20")] == [0, 1]


def test_the_printed_configuration_fits(run, tmp_path):
    asked = "--model ResNet --model.variant 20 --model.num_classes 10 --model.image_size 8 --data Digits"
    tricks = "--trainer.callbacks+=MixUp --trainer.callbacks.alpha=0.3 --trainer.callbacks+=EMA"
    limits = (
        "--trainer.limit_train_batches 2 --trainer.limit_val_batches 1 --trainer.max_epochs 1 --trainer.logger false"
    )
    code, out, _ = run("fit", *asked.split(), *tricks.split(), *limits.split(), "--print_config")
    assert code == 0
    config = yaml.safe_load(out)
    assert config["model"]["class_path"] == "zoo.ResNet" and config["model"]["init_args"]["variant"] == "20"
    assert [c["class_path"] for c in config["trainer"]["callbacks"]] == ["callbacks.MixUp", "callbacks.EMA"]
    assert config["trainer"]["callbacks"][0]["init_args"] == {"alpha": 0.3}
    (tmp_path / "run.yaml").write_text(out)
    code, _, err = run("fit", "--config", "run.yaml", "--trainer.enable_progress_bar", "false")
    assert code == 0, err
    (checkpoint,) = tmp_path.rglob("*.ckpt")
    assert type(zoo.load(checkpoint)).__name__ == "ResNet"


def test_a_trick_that_lightning_has_by_the_same_name_is_ours(run):
    model = ["--model", "ResNet", "--model.variant", "20", "--data", "Digits"]
    for words in (["--trainer.callbacks+=EarlyStopping"], ["--trainer.callbacks", "EarlyStopping"]):
        more = ["--trainer.callbacks.patience", "3", "--trainer.callbacks+=MixUp", "--print_config"]
        code, out, err = run("fit", *model, *words, *more)
        assert code == 0, err
        stop, mix = yaml.safe_load(out)["trainer"]["callbacks"]
        assert (stop["class_path"], mix["class_path"]) == ("callbacks.EarlyStopping", "callbacks.MixUp")
        assert stop["init_args"]["patience"] == 3
    asked = ["--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks+=my.Trick", "--model", "EMA"]
    assert lightning_module.ours(asked) == asked


def test_a_reader_may_leave_early():
    """As `zoo models | head -1` does; the pipe's other end is closed before anything is written."""
    command = [sys.executable, "-c", "from recipes.command.main import main; main()", "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=catalogue.ROOT) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_an_error_that_we_raise_from_another_is_one_line(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = run("search", "digits_resnet20", "--space", "lr=0.1,0.2")
    assert code == 2 and "pip install" in err and "Traceback" not in err


def test_sigterm_ends_with_a_line_and_a_code(run, monkeypatch):
    def stopped():
        raise SIGTERMException

    monkeypatch.setitem(main_module.LISTS, "recipes", stopped)
    code, _, err = run("recipes")
    assert code == 143 and err.splitlines()[-1].startswith("zoo: stopped by SIGTERM")


def test_a_second_ctrl_c_and_one_outside_of_a_run_end_with_a_line_and_a_code(run, monkeypatch):
    def at_once():
        raise KeyboardInterrupt

    def as_lightning_does():
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            sys.exit(1)

    for stopped in (at_once, as_lightning_does):
        monkeypatch.setitem(main_module.LISTS, "recipes", stopped)
        code, _, err = run("recipes")
        assert code == 130 and err.count("\n") == 1
        assert err.startswith("zoo: stopped by Ctrl-C") and "goes on with --resume FOLDER/last.ckpt" in err


class Stopped(GracefulStop):
    """As after a Ctrl-C in the first batch."""

    def on_train_batch_end(self, trainer, model, outputs, batch, batch_idx):
        trainer.should_stop = self.interrupted = True


FIT = "--model ResNet --model.variant 20 --model.num_classes 10 --model.image_size 8 --data Digits"
QUIET = "--trainer.max_epochs 2 --trainer.limit_val_batches 1 --trainer.logger false --trainer.accelerator cpu"


def test_fit_leaves_a_folder_and_a_page(run, tmp_path):
    asked = [*FIT.split(), "--trainer.callbacks+=MixUp", "--trainer.max_epochs", "4", "--trainer.accelerator", "cpu"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The .*dataloader", UserWarning)
        code, out, err = run("fit", *asked)
    assert code == 0, err
    (folder,) = (tmp_path / "runs" / "ResNet-Digits").iterdir()
    names = {path.name for path in folder.iterdir()}
    assert names == {"run.yaml", "config.yaml", "metrics.csv", "hparams.yaml", "report.png", "checkpoints"}
    found = yaml.safe_load((folder / "run.yaml").read_text())
    assert found["tricks"] == {"MixUp": {"alpha": 1.0}} and found["model"]["ResNet"]["variant"] == "20"
    assert found["trainer"]["max_epochs"] == 4 and found["seed"] == 0
    assert "lr-SGD" in (folder / "metrics.csv").read_text().splitlines()[0]
    assert [line.split()[1] for line in out.splitlines() if line.startswith("epoch ")] == ["1/4", "2/4", "3/4", "4/4"]
    assert "of the first batch is" in " ".join(out.split()) and " taken for " in out


def test_fit_saves_where_it_is_told(run, tmp_path):
    more = ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--trainer.limit_train_batches", "2"]
    for i, words in enumerate((["--save", "here"], ["--trainer.default_root_dir", "there"])):
        code, _, err = run("fit", *FIT.split(), *more, *words)
        assert code == 0, err
        assert (tmp_path / ("here", "there")[i] / "metrics.csv").exists()
    assert not (tmp_path / "runs").exists()
    assert run("validate", *FIT.split(), "--save", "here")[0] == 2


def test_a_logger_that_is_not_installed_is_one_line(run, monkeypatch):
    monkeypatch.setattr("recipes.frame.loggers.find_spec", lambda name: None)
    code, _, err = run("run", "digits_resnet20", "--logger", "wandb")
    assert (code, err) == (2, "zoo: the logger 'wandb' needs another package: pip install wandb\n")
    code, _, err = run("run", "digits_resnet20", "--logger", "paper")
    assert code == 2 and "'csv', 'tensorboard', 'wandb'" in err


@pytest.mark.parametrize("keeps", [True, False])
def test_fit_that_ctrl_c_stops_says_how_to_go_on(run, monkeypatch, tmp_path, keeps):
    more = ["--trainer.enable_progress_bar", "false", "--trainer.enable_checkpointing", str(keeps).lower()]
    with monkeypatch.context() as patch:
        patch.setattr("zoo.frame.classifier.ALWAYS", (Stopped,))
        code, _, err = run("fit", *FIT.split(), *QUIET.split(), *more)
    last = err.splitlines()[-1]
    assert code == 130 and last.startswith("zoo: stopped by Ctrl-C; ")
    if not keeps:
        assert last.endswith("no checkpoint was written, so it cannot go on")
        return
    (written,) = tmp_path.rglob("*.ckpt")
    assert last.endswith(f"go on with --ckpt_path {written.relative_to(tmp_path)}")
    code, _, err = run("fit", *FIT.split(), *QUIET.split(), *more[:2], "--ckpt_path", str(written))
    assert code == 0, err
    assert [path.name for path in (tmp_path / "runs" / "ResNet-Digits").iterdir()] == [written.parts[-3]]


def test_images_of_a_folder_in_memory_from_the_command_line(run, tmp_path):
    """The defaults of images in files, which the command line hands over too, are no wish for both."""
    for name, value in (("ant", 20), ("bee", 60)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            Image.effect_noise((8, 8), value + i).convert("RGB").save(tmp_path / "photos" / name / f"{i}.png")
    model = "--model ResNet --model.variant 20 --model.num_classes 2 --model.image_size 8"
    data = "--data ImageFolder --data.root photos --data.batch_size 4 --data.cache memory"
    off = "--trainer.enable_progress_bar false --trainer.enable_checkpointing false"
    code, out, err = run("fit", *f"{model} {data} {QUIET} {off}".split(), "--print_config")
    assert code == 0, err
    (tmp_path / "run.yaml").write_text(out)
    code, _, err = run("fit", "--config", "run.yaml")
    assert code == 0, err


@pytest.mark.parametrize("name", ["callbacks", "datamodules", "zoo"])
def test_a_folder_of_the_users_that_hides_ours_is_one_line(tmp_path, name):
    """In a fresh process: one that has imported ours does not look again."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; sys.argv[1:] = ['models']"
    code += "; from recipes.command.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=catalogue.ROOT)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"zoo: {tmp_path / name} hides the package {name!r} of Lightning Zoo: rename it")


def test_resuming_from_what_is_no_checkpoint_is_one_line(run, tmp_path):
    code, _, err = run("run", "digits_resnet20", "--resume", "last.ckpt")
    hint = "resume from the last.ckpt in the folder of --save"
    assert (code, err) == (2, f"zoo: there is no checkpoint last.ckpt: {hint}\n")
    code, _, err = run("fit", *FIT.split(), "--ckpt_path", "last.ckpt")
    assert (code, err) == (2, "zoo: there is no checkpoint last.ckpt\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "last.ckpt").write_text("")
    code, _, err = run("run", "digits_resnet20", "--resume", "out")
    assert (code, err) == (2, "zoo: there is no checkpoint out: take out/last.ckpt\n")


def test_several_seeds_do_not_go_on_with_one_run(run, tmp_path):
    code, _, err = run("run", "digits_resnet20", "--seeds", "2", "--resume", "last.ckpt")
    assert code == 2 and "replace --seeds with that run's --seed" in err
