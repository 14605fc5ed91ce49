"""Stage `build`: the model that the run starts from, as a folder of the run.

In: settings (model.path, or model.build). Out: models/base, a Hugging Face folder: links to the
files of a local folder or of the hub's cache, what a GGUF file holds, or a small model built from
scratch.

Raises ModelError when the model or its tokenizer cannot be used, has fewer positions than the run's
sequences, or lacks the layers that a section `lora` names.
"""

from __future__ import annotations

from pathlib import Path

from prime_core.models.build import build_model, build_tokenizer
from prime_core.models.gguf import load_gguf
from prime_core.models.load import (
    ModelError,
    find_model,
    link_model,
    load_model,
    load_tokenizer,
    save_model,
)
from prime_core.models.positions import check_lengths
from prime_core.run.atomic import atomic_folder
from prime_core.run.records import Made, write_weights_record
from prime_core.run.seeds import derive_seed
from prime_core.run.work import finish, open_run
from prime_core.runtime.locks import only_one
from prime_core.settings.run import Settings
from prime_core.storage.gguf_files import is_gguf
from prime_core.training.lora import check_targets


def run(run_dir: Path) -> None:
    """Build or link the start model, and check that it can be used."""
    settings, files = open_run(run_dir)
    with only_one(files.base_model, run_dir):
        with atomic_folder(files.base_model) as folder:
            path = settings.model.path
            if path is None:
                _build(settings, folder)
            # Converted here, so that all later stages load an ordinary folder.
            # docs/decisions.md#gguf-once
            elif is_gguf(path):
                save_model(*load_gguf(Path(path), settings.model.dtype), folder)
            else:
                link_model(find_model(path), folder)
            num_parameters = _check(settings, folder)
            write_weights_record(folder, files.base_model, Made(files.root))
        finish(
            files.setup_metrics("build"),
            {"model/num_parameters": num_parameters},
            f"build: {path or 'a small Qwen2 from scratch'}, "
            f"{num_parameters / 1e6:.2f} M parameters",
        )


def _check(settings: Settings, folder: Path) -> int:
    """The number of parameters; raises ModelError for a model that the run could not use."""
    # Here, not after preparing data or the warm-up.
    path = settings.model.path
    name = "model.build" if path is None else f"model.path ({path})"
    try:
        load_tokenizer(folder)
        model = load_model(folder, settings.model.dtype)
    except ModelError as error:
        # The folder is the temporary one, which nobody knows and which is gone by then.
        raise ModelError(str(error).replace(str(folder), name)) from None
    check_lengths(folder, settings, name)
    check_targets(model, settings)
    return model.num_parameters()


def _build(settings: Settings, folder: Path) -> None:
    tokenizer = build_tokenizer()
    build = settings.model.build
    model = build_model(
        tokenizer,
        num_layers=build.num_layers,
        hidden_size=build.hidden_size,
        num_heads=build.num_heads,
        intermediate_size=build.intermediate_size,
        max_position=build.max_position,
        initializer_range=build.initializer_range,
        seed=derive_seed(settings.seed, "build"),
    )
    save_model(model, tokenizer, folder)
