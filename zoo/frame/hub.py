"""Share models by the conventions of the Hugging Face Hub: model.safetensors, config.json and a card in README.md.

The methods are those of `huggingface_hub.PyTorchModelHubMixin`. Where timm has the network, timm opens the files too.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self, Unpack

import timm
import torch
from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from torch import Tensor

from zoo.frame import atomic, surgery
from zoo.frame.about import ABOUT, CLASS, about, names_of_classes, restore
from zoo.frame.arguments import plain
from zoo.frame.by_name import SOURCES, architecture
from zoo.frame.checks import SMALL
from zoo.frame.model_card import Facts, facts_of_run, write_card
from zoo.frame.portable import Portable
from zoo.frame.weight_files import in_one_line, read
from zoo.frame.weight_sets import State
from zoo.frame.weights import for_network

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


class Shared(Portable):
    """A module that is written to and read from folders and repositories of the Hub."""

    def save_pretrained(self, folder: str | Path, **facts: Unpack[Facts]) -> Path:
        """Write model.safetensors, config.json and README.md, a card made from the run. Existing ones are replaced.

        Args:
            folder: where to; made if it is missing.
            facts: what the card tells besides or instead of what the run knows: data, tricks, metrics, seeds, command,
                commit, license. See `Facts`.

        Returns:
            The folder.
        """
        return write(self, Path(folder).expanduser(), Path(folder).name, facts)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str = "Upload a model of Lightning Zoo",
        **facts: Unpack[Facts],
    ) -> str:
        """Upload the files of `save_pretrained` to a repository of the Hub, made if it is missing.

        Args:
            repo_id: "user/repo".
            private: whether a new repository is private; None: the account's default.
            token: that may write; None: that of `hf auth login`.
            commit_message: of the upload.
            facts: as in `save_pretrained`.

        Returns:
            The address of the commit.

        Raises:
            ValueError: the Hub refuses; says what to do.
        """
        api = HfApi(token=token)
        with TemporaryDirectory() as made:
            folder = write(self, Path(made), repo_id, facts)
            try:
                repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
                return str(api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message))
            except HfHubHTTPError as error:
                raise ValueError(
                    f"the Hub refuses {repo_id}: {error}. `hf auth login` with a token that may write, or give token="
                ) from None
            except OSError as error:
                raise ValueError(
                    f"the Hub cannot be reached ({error}): model.save_pretrained(FOLDER) writes the same files"
                ) from None

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        token: str | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Build the model of a folder or a repository, with its weights, class names and preprocessing.

        Args:
            source: a folder of `save_pretrained`, or "user/repo".
            revision: branch, tag or commit of the repository; None: its main branch.
            token: for a private repository; None: that of `hf auth login`.
            cache_dir: where downloads are kept; None: the Hub's cache.
            local_files_only: take the files from the cache alone.

        Returns:
            The model in eval mode, on the CPU. `Classifier.from_pretrained` and `Model.from_pretrained` take every
            class.

        Raises:
            ValueError: no such repository, files that are not of this class, or damaged ones; says what to do.
        """
        options = {"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        content = read_folder(source, options)
        kinds, name = {kind.__name__: kind for kind in family(cls)}, content[CLASS]
        if name not in kinds:
            raise ValueError(f"{source} holds a {name}, not a {cls.__name__}: zoo.{name}.from_pretrained({source!r})")
        arguments = arguments_of(content)
        if kinds[name].__name__ == "Classifier" and "network" not in arguments:
            raise ValueError(f"{source} holds a network of your own: zoo.load(folder, network=module) builds it")
        with in_one_line(source):
            model: Self = fill(kinds[name](**arguments), content, content["state_dict"])
        return model


def family(cls: type[Shared]) -> Iterator[type[Any]]:
    """Yield a class and all classes that derive from it."""
    yield cls
    for derived in cls.__subclasses__():
        yield from family(derived)


def arguments_of(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a constructor's arguments without LightningCLI's additions and without files of weights."""
    hparams, files = content.get("hyper_parameters", {}), ("weights", *SOURCES)
    return {key: plain(value) for key, value in hparams.items() if not key.startswith("_") and key not in files}


def fill(model: Any, content: Mapping[str, Any], state: State) -> Any:
    """Repeat the surgery of a file, load its weights, class names and preprocessing; return the model in eval mode."""
    surgery.follow(model, content.get("surgery", ()))
    network = model.network if content.get("plain_keys") and hasattr(model, "network") else model
    network.load_state_dict(for_network(network, state))
    restore(model, content.get(ABOUT))
    model.untrained = False
    return model.eval()


# ---- files


def write(model: Any, folder: Path, name: str, facts: Facts) -> Path:
    """Write the three files of a model into a folder: see `Shared.save_pretrained`."""
    if model.preprocessing and model.preprocessing.whitening is not None:
        raise ValueError(
            "the images are whitened by a matrix, which only a checkpoint keeps: trainer.save_checkpoint(...)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    known: Facts = {**facts_of_run(model), **facts}
    theirs = timm_config(model)
    config = {
        **theirs,
        CLASS: type(model).__name__,
        "hyper_parameters": {key: plain(value) for key, value in model.hparams.items()},
        "surgery": model.surgery,
        ABOUT: about(model),
        "facts": known,
    }
    model.export(folder / WEIGHTS)
    atomic.write_text(folder / CONFIG, json.dumps(config, indent=2, default=str) + "\n")
    opens = [f'model = zoo.{type(model).__name__}.from_pretrained("{name}")']
    opens += [f'model = timm.create_model("hf-hub:{name}", pretrained=True)'] if theirs else []
    atomic.write_text(folder / CARD, write_card(model, name, known, "timm" if theirs else "lightning-zoo", opens))
    return folder


def is_folder(path: str | Path) -> bool:
    """Return whether a path is a folder of `save_pretrained`."""
    return (Path(path).expanduser() / CONFIG).is_file()


def read_folder(source: str | Path, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read a folder or a repository into the entries that a checkpoint has: model, hyper_parameters, state_dict, ...

    Args:
        source: folder, or "user/repo".
        options: of `hf_hub_download`.

    Raises:
        ValueError: no such source, or files of another kind; says what to do.
    """
    config = json.loads(_file(source, CONFIG, options or {}).read_text())
    if CLASS not in config or "hyper_parameters" not in config:
        timms, prefix = config.get("architecture"), "local-dir" if is_folder(source) else "hf-hub"
        advice = f"Classifier('{prefix}:{source}', weights='timm')" if timms else "build it, then load_weights(FILE)"
        raise ValueError(f"{source} holds {f'the {timms}' if timms else 'a network'} of another library: {advice}")
    return {**config, "state_dict": read(_file(source, WEIGHTS, options or {})).state, "plain_keys": True}


def _file(source: str | Path, name: str, options: Mapping[str, Any]) -> Path:
    """Return one file of a folder or a repository."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        if not (folder / name).is_file():
            raise ValueError(f"{source} has no {name}: write the folder with model.save_pretrained({str(source)!r})")
        return folder / name
    try:
        return Path(hf_hub_download(str(source), name, **options))
    except LocalEntryNotFoundError:
        raise ValueError(f"{source} is neither a folder nor in the cache, and the Hub cannot be reached") from None
    except EntryNotFoundError:
        raise ValueError(f"{source} has no {name}: upload the model with model.push_to_hub({str(source)!r})") from None
    except RepositoryNotFoundError:
        raise ValueError(
            f"no folder and no repository {source}; a private one needs token= or `hf auth login`"
        ) from None
    except (HfHubHTTPError, ValueError) as error:
        raise ValueError(f"{source} is no folder, and the Hub does not give its {name}: {error}") from None


# ---- timm


def timm_config(model: Any) -> dict[str, Any]:
    """Return the entries of config.json that timm reads, where it has the same network; else none."""
    found = timm_twin(model)
    if found is None:
        return {}
    network, arguments = found
    how, size = model.preprocessing, model.image_size or network.pretrained_cfg["input_size"][-1]
    cfg = {
        key: network.pretrained_cfg.get(key) for key in ("first_conv", "classifier", "fixed_input_size", "pool_size")
    }
    cfg |= {"num_classes": model.num_classes, "input_size": [model.in_chans, size, size]}
    if how is not None:
        cfg |= {"mean": list(how.mean), "std": list(how.std), "interpolation": how.interpolation}
        cfg |= {"crop_pct": how.size / how.short_side}
    config = {"architecture": architecture(network), "num_classes": model.num_classes, "pretrained_cfg": cfg}
    config |= {"num_features": network.num_features, "model_args": arguments}
    names = names_of_classes(model)
    return config | ({"label_names": list(names)} if names else {})


def timm_twin(model: Any) -> tuple[Any, dict[str, Any]] | None:
    """Build, on the meta device, timm's network with the model's keys and function. None where timm has none.

    Small-image stems and networks that a trick has changed are ours alone.
    """
    own = architecture(getattr(model, "network", None))
    names = own or model.timm_names.get(model.hparams.get("variant"), ())
    if model.surgery or (own is None and (model.image_size or 0) <= SMALL):
        return None
    shapes = shapes_of(model.plain_state_dict())
    sized: list[dict[str, Any]] = [{}, {"img_size": model.image_size}]
    for name in (names,) if isinstance(names, str) else names:
        for arguments in sized:
            given = {**model.hparams.get("timm_options", {}), **arguments, "in_chans": model.in_chans}
            try:
                with torch.device("meta"):
                    network = timm.create_model(name, num_classes=model.num_classes, **given)
            except TypeError:  # a network of any image size
                continue
            if shapes_of(network.state_dict()) == shapes:
                return network, arguments
    return None


def shapes_of(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of weights by name."""
    return {key: tuple(value.shape) for key, value in state.items()}
