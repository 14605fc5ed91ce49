"""Training states: whose weights they belong to, and that loading one executes nothing."""

import os
import pickle
import shutil

import pytest
import torch

from prime_core.models.load import load_tokenizer
from prime_core.run.records import TableError
from prime_core.settings.optimizer import Optimizer
from prime_core.settings.training import Training
from prime_core.training.engine import continue_training
from prime_core.training.state_files import loading_values_only
from tests.support.tiny_model import save_tiny_model

pytestmark = pytest.mark.usefixtures("one_rank")


class Command:
    """A pickle of this makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def trained(folder, seed=0, **training):
    """A folder of weights with the training state of one step."""
    save_tiny_model(folder.with_name(f"start-{folder.name}"))
    options = Training(**training)
    start = folder.with_name(f"start-{folder.name}")
    trainer = continue_training(start, "float32", Optimizer(), options)
    weights = list(trainer.engine.module.parameters())
    trainer.step([0], lambda _: (1 - 2 * seed) * sum(w.float().sum() for w in weights))
    trainer.save(folder, load_tokenizer(start))
    return folder


def reloaded(folder, **training):
    return continue_training(folder, "float32", Optimizer(), Training(**training)).num_steps


@pytest.mark.parametrize("there", [0, 2])
@pytest.mark.parametrize("here", [0, 2])
def test_a_state_that_executes_something_is_refused_before_it_does(tmp_path, there, here):
    folder = trained(tmp_path / "policy", zero_stage=there)
    assert reloaded(folder, zero_stage=here) == 1
    made = tmp_path / "made by the state"
    for file in (folder / "training_state").rglob("*.pt"):
        torch.save({"module": Command(made)}, file)
    # As its maker would send it: with no record, or with a true one.
    (folder / "training_state" / "made_from.json").unlink()
    with pytest.raises(ValueError, match="policy: its training state does not load"):
        reloaded(folder, zero_stage=here)
    assert not made.exists()


def test_the_libraries_own_calls_execute_nothing_either_and_only_within(tmp_path):
    made, file = tmp_path / "made", tmp_path / "x.pt"
    torch.save(Command(made), file)
    with loading_values_only(), pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=False)
    assert not made.exists()
    torch.load(file, weights_only=False)
    assert made.exists()


def test_the_state_of_other_weights_is_refused(tmp_path):
    policy, prm = trained(tmp_path / "policy"), trained(tmp_path / "prm", seed=1)
    shutil.rmtree(policy / "training_state")
    shutil.copytree(prm / "training_state", policy / "training_state")
    with pytest.raises(TableError, match="policy: training_state is that of other weights"):
        reloaded(policy)


@pytest.mark.parametrize("name", ["state/mp_rank_00_model_states.pt", "latest"])
def test_a_flipped_byte_is_named(tmp_path, name):
    folder = trained(tmp_path / "policy")
    file = folder / "training_state" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(TableError, match=rf"policy: training_state/{name} is not the file"):
        reloaded(folder)
