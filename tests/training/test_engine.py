"""The trainer: plain AdamW steps, whatever the passes, ranks, ZeRO stage and interruptions."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from deepspeed.utils import safe_get_full_optimizer_state
from transformers import AutoModelForCausalLM, AutoTokenizer

from prime_core.models.build import build_model, build_tokenizer
from prime_core.models.load import load_model, load_tokenizer
from prime_core.settings.training import Training
from prime_core.training import universal
from prime_core.training.engine import continue_training
from prime_core.training.logprob_model import give_logprobs
from tests.support.one_rank import as_one_rank
from tests.support.shared_data import ROOT
from tests.support.tiny_model import save_tiny_model, tiny
from tests.support.training_steps import (
    PLAN,
    SEQUENCES,
    Weights,
    chains,
    cut_small,
    difference,
    loss_of_rows,
    name_of,
    rate_at,
    resumed,
    run_steps,
    trainer_of,
    usual_optimizer,
    weights_of,
    whole_weights,
)
from tests.support.two_ranks import run_two_ranks

pytestmark = pytest.mark.usefixtures("one_rank")


def plain_steps() -> tuple[Weights, list[float]]:
    """The same steps by torch alone: one pass, AdamW, clip_grad_norm_, a schedule."""
    model, settings = tiny()[0], usual_optimizer()
    adamw = torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
    )
    norms = []
    for step, minibatch in enumerate(PLAN):
        adamw.param_groups[0]["lr"] = settings.learning_rate * rate_at(step)
        adamw.zero_grad()
        loss_of_rows(model, minibatch, minibatch).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), settings.grad_clip)))
        adamw.step()
    return {name: value.clone() for name, value in model.state_dict().items()}, norms


@pytest.fixture(scope="module")
def plain():
    return plain_steps()


def summed_error(zero_stage: int, **settings: str) -> float:
    """How far a step's first moment is from the float32 sum of its passes' own gradients."""
    passes = [[row] for _ in range(3) for row in range(len(SEQUENCES))]
    model = tiny()[0].bfloat16()
    give_logprobs(model)
    expected = {name: torch.zeros_like(p).float() for name, p in model.named_parameters()}
    for rows in passes:
        model.zero_grad()
        loss_of_rows(model, rows, rows).backward()
        for name, weight in model.named_parameters():
            assert weight.grad is not None
            expected[name] += weight.grad.float()
    optimizer = usual_optimizer(betas=(0.0, 0.9), grad_clip=1e9)  # the moment is the gradient
    trainer = trainer_of(zero_stage, tiny()[0].bfloat16(), optimizer, **settings)
    trainer.step(passes, lambda rows: loss_of_rows(trainer.engine, rows, rows))
    weights = dict(trainer.engine.module.named_parameters())
    moments = {n: safe_get_full_optimizer_state(weights[n], "exp_avg") for n in expected}
    error = sum(float((moments[n] - expected[n]).pow(2).sum()) for n in expected)
    return (error / sum(float(expected[n].pow(2).sum()) for n in expected)) ** 0.5


@pytest.mark.parametrize(
    ("zero_stage", "settings"),
    [(1, {}), (2, {}), (3, {}), (2, {"offload_optimizer": "cpu"})],
    ids=["1", "2", "3", "off-loaded"],
)
def test_gradients_of_bfloat16_add_up_in_float32(zero_stage, settings):
    assert summed_error(zero_stage, **settings) < 1e-6


def test_gradients_of_bfloat16_may_add_up_in_bfloat16():
    assert 1e-3 < summed_error(2, grad_accum_dtype="model") < 0.05


@pytest.mark.parametrize("size", [1, 3, 6])
def test_the_micro_batch_size_changes_nothing_and_steps_are_those_of_plain_adamw(plain, size):
    trainer = trainer_of()
    start = weights_of(trainer)
    norms = run_steps(trainer, PLAN, size)
    assert difference(weights_of(trainer), plain[0]) < 1e-6
    assert difference(weights_of(trainer), start) > 1e-4
    assert norms == pytest.approx(plain[1], rel=1e-4)
    assert min(norms) > usual_optimizer().grad_clip  # the clipping is at work


@pytest.mark.parametrize(
    ("zero_stage", "offload_optimizer"),
    [(0, "none"), *((stage, where) for stage in (1, 2, 3) for where in ("none", "cpu"))],
)
def test_stages_off_loading_and_recomputed_layers_take_the_same_steps(
    plain, zero_stage, offload_optimizer, tmp_path
):
    for size, gradient_checkpointing in ((1, False), (6, True)):
        with cut_small():
            trainer = trainer_of(
                zero_stage,
                offload_optimizer=offload_optimizer,
                gradient_checkpointing=gradient_checkpointing,
            )
            norms = run_steps(trainer, PLAN, size)
        assert difference(whole_weights(trainer, tmp_path / str(size)), plain[0]) < 1e-6
        assert norms == pytest.approx(plain[1], rel=1e-4)


def test_layers_are_computed_again_where_the_settings_say_so():
    counts = []
    for gradient_checkpointing in (False, True):
        trainer = trainer_of(gradient_checkpointing=gradient_checkpointing)
        calls: list[str] = []
        layer = trainer.engine.module.model.layers[0].mlp
        layer.register_forward_pre_hook(lambda *_, calls=calls: calls.append("forward"))
        run_steps(trainer, PLAN[:1], size=6)
        counts.append(len(calls))
    assert counts == [1, 2]


def test_the_gradient_is_clipped_before_and_measured_as_it_was():
    loose, tight = (trainer_of(optimizer=usual_optimizer(grad_clip=norm)) for norm in (1e6, 1e-7))
    norms = [run_steps(trainer, PLAN[:1])[0] for trainer in (loose, tight)]
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    # AdamW divides by the gradient's size, unless it is of the size of its epsilon, 1e-8.
    moved = [difference(weights_of(trainer), tiny()[0].state_dict()) for trainer in (loose, tight)]
    assert moved[1] < 0.95 * moved[0]


def test_steps_and_rate_are_counted():
    trainer = trainer_of()
    assert (trainer.num_steps, trainer.learning_rate) == (0, 1e-4)
    run_steps(trainer, PLAN, size=1)
    assert trainer.num_steps == 3
    assert trainer.learning_rate == pytest.approx(1e-4 / 4)


@pytest.mark.parametrize("zero_stage", [0, 1])
def test_a_saved_trainer_goes_on_bit_for_bit(zero_stage, tmp_path):
    through = trainer_of(zero_stage)
    run_steps(through, PLAN[:1])
    through.save(tmp_path / "policy", tiny()[1])
    numbers = torch.rand(3)
    run_steps(through, PLAN[1:])

    model = load_model(tmp_path / "policy", "float32")
    torch.manual_seed(99)
    continued = trainer_of(zero_stage, model)
    continued.load_state(tmp_path / "policy")
    assert torch.equal(torch.rand(3), numbers)
    assert (continued.num_steps, continued.learning_rate) == (1, pytest.approx(1e-4 / 2))
    run_steps(continued, PLAN[1:])
    assert difference(weights_of(continued), weights_of(through)) == 0
    assert continued.num_steps == 3


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_a_state_goes_on_with_the_optimizer_settings_of_now(zero_stage, tmp_path):
    first = trainer_of(zero_stage)
    run_steps(first, PLAN[:1])
    first.save_state(tmp_path)
    slow = usual_optimizer(learning_rate=1e-9, betas=(0.5, 0.6), weight_decay=0.0)
    branch = trainer_of(zero_stage, optimizer=slow)
    branch.load_state(tmp_path)
    start = weights_of(branch)
    assert branch.learning_rate == pytest.approx(1e-9 / 2)  # where the schedule was
    run_steps(branch, PLAN[1:])
    assert difference(weights_of(branch), start) < 1e-7
    (group,) = branch.engine.optimizer.param_groups
    assert (tuple(group["betas"]), group["weight_decay"]) == ((0.5, 0.6), 0.0)


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 0), (1, 2), (2, 3), (3, 1)])
def test_a_state_goes_on_at_another_zero_stage(plain, before, after, tmp_path):
    with cut_small():
        first = trainer_of(before)
        run_steps(first, PLAN[:1])
        first.save(tmp_path / "policy", tiny()[1])
        second = resumed(tmp_path / "policy", after, PLAN[1:])
    assert (second.num_steps, second.learning_rate) == (3, pytest.approx(1e-4 / 4))
    assert difference(whole_weights(second, tmp_path / "next"), plain[0]) < 1e-6
    assert {path.name for path in tmp_path.iterdir()} == {"policy", "next"}


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_what_is_saved_is_an_ordinary_model_that_predicts_the_same(zero_stage, tmp_path):
    trainer = trainer_of(zero_stage)
    run_steps(trainer, PLAN[:1])
    trainer.save(tmp_path / "policy", tiny()[1])
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    ids = torch.tensor([[*SEQUENCES.prompts[0], *SEQUENCES.responses[0]]])
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, trainer.engine(input_ids=ids).logits)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "policy")
    assert tokenizer("1+2=?")["input_ids"] == tiny()[1]("1+2=?")["input_ids"]
    assert {"config.json", "generation_config.json", "model.safetensors"} <= {
        file.name for file in (tmp_path / "policy").iterdir()
    }


def test_weights_that_zero_3_cuts_into_pieces_are_saved_whole(tmp_path):
    tokenizer = build_tokenizer()
    wide = build_model(  # DeepSpeed leaves weights of less than 100,000 numbers in one piece
        tokenizer,
        num_layers=1,
        hidden_size=448,
        num_heads=4,
        intermediate_size=16,
        max_position=64,
        initializer_range=0.02,
        seed=0,
    )
    shapes = {name: weight.shape for name, weight in wide.named_parameters()}
    trainer = trainer_of(3, wide)
    run_steps(trainer, PLAN[:1])
    trainer.save(tmp_path / "policy", tokenizer)
    loaded = load_model(tmp_path / "policy", "float32")
    assert {name: weight.shape for name, weight in loaded.named_parameters()} == shapes
    ids = torch.tensor([SEQUENCES.prompts[0]])
    with torch.no_grad():
        assert torch.equal(loaded(ids).logits, trainer.engine(input_ids=ids).logits)


def test_the_same_steps_write_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        trainer = trainer_of()
        run_steps(trainer, PLAN)
        trainer.save(tmp_path / name, tiny()[1])
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_folder_without_training_state_starts_afresh(tmp_path):
    folder = save_tiny_model(tmp_path / "policy")
    trainer = continue_training(folder, "float32", usual_optimizer(), Training())
    tokenizer = load_tokenizer(folder)
    assert trainer.num_steps == 0
    assert trainer.learning_rate == 1e-4
    assert tokenizer.eos_token_id is not None
    run_steps(trainer, PLAN)
    trainer.save(tmp_path / "next", tokenizer)
    continued = continue_training(tmp_path / "next", "float32", usual_optimizer(), Training())
    assert continued.num_steps == 3
    assert difference(weights_of(continued), weights_of(trainer)) == 0


def test_a_state_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"policy: holds no training state"):
        trainer_of().load_state(tmp_path / "policy")


def test_a_truncated_training_state_is_refused_by_name(tmp_path):
    trainer = trainer_of()
    run_steps(trainer, PLAN[:1])
    trainer.save(tmp_path / "policy", tiny()[1])
    for state in (tmp_path / "policy" / "training_state").rglob("*.pt"):
        state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ValueError, match="policy: "):
        trainer_of().load_state(tmp_path / "policy")


@contextmanager
def small_files(num_bytes: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: what a full disk looks like from inside."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_while_saving_is_an_error_with_the_folder_and_leaves_nothing(tmp_path):
    with small_files(20_000), pytest.raises(OSError, match="policy"):
        trainer_of().save(tmp_path / "policy", tiny()[1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("before", "after"), [(0, 1), (1, 0), (2, 3)])
def test_a_full_disk_while_converting_is_said_and_leaves_nothing(before, after, tmp_path):
    first = trainer_of(before)
    run_steps(first, PLAN[:1])
    first.save(tmp_path / "policy", tiny()[1])
    second = trainer_of(after)
    full = pytest.raises(universal.NoRoom, match=f"^{tmp_path}: no room to convert")
    with small_files(3000), full:
        second.load_state(tmp_path / "policy")
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]


def test_small_steps_of_a_bfloat16_model_add_up_across_a_restart(tmp_path):
    changes = {"learning_rate": 2e-5, "weight_decay": 0.0, "grad_clip": 1e6}
    folder = save_tiny_model(tmp_path / "start")
    start = load_model(folder, "bfloat16").state_dict()
    for part in range(2):
        optimizer, training = usual_optimizer(**changes), Training(zero_stage=1)
        trainer = continue_training(folder, "bfloat16", optimizer, training)
        tokenizer = load_tokenizer(folder)
        run_steps(trainer, PLAN[:1] * 50, size=6)
        folder = tmp_path / str(part)
        trainer.save(folder, tokenizer)
    weights = load_model(folder, "bfloat16").state_dict()
    moved = torch.cat([(weights[name] - start[name]).float().flatten().abs() for name in start])
    # 100 steps of 2e-5 each, most of them in one direction, though one alone is rounded away
    assert float((moved > 1e-3).float().sum()) > 0.2 * len(moved)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory) -> Path:
    """What two ranks wrote, after the first steps of one."""
    folder = tmp_path_factory.mktemp("ranks")
    with as_one_rank(), cut_small():
        for chain in chains():
            first = trainer_of(chain[0])
            run_steps(first, PLAN[:1])
            first.save(folder / f"first-{name_of(chain)}", tiny()[1])
    run_two_ranks("tests.support.training_steps", str(folder))
    return folder


@pytest.mark.slow
def test_two_ranks_take_the_steps_of_one_whatever_the_stage_and_the_settings(plain, two_ranks):
    found = torch.load(two_ranks / "found.pt")
    for stage in range(4):
        assert difference(found[f"steps-{stage}"], plain[0]) < 1e-6, stage
        assert found[f"norms-{stage}"] == pytest.approx(plain[1], rel=1e-4), stage
    for stage in (1, 2, 3):
        assert difference(found[f"settings-{stage}"], plain[0]) < 1e-6, stage


@pytest.mark.slow
def test_two_ranks_go_on_from_a_checkpoint_bit_for_bit(two_ranks):
    found = torch.load(two_ranks / "found.pt")
    for stage in range(4):
        assert difference(found[f"continued-{stage}"], found[f"steps-{stage}"]) == 0, stage


@pytest.mark.slow
@pytest.mark.parametrize("chain", list(chains()), ids=name_of)
def test_one_rank_two_ranks_and_one_again_take_the_steps_of_one(plain, two_ranks, chain, tmp_path):
    with cut_small():
        third = resumed(two_ranks / f"second-{name_of(chain)}", chain[2], PLAN[2:])
    assert third.num_steps == len(PLAN)
    assert difference(whole_weights(third, tmp_path / "policy"), plain[0]) < 1e-6
    assert not list(two_ranks.glob(".*.tmp"))


@pytest.mark.slow
def test_a_new_process_goes_on_bit_for_bit(tmp_path):
    through = trainer_of()
    run_steps(through, PLAN[:1])
    through.save(tmp_path / "policy", tiny()[1])
    run_steps(through, PLAN[1:])
    program = (
        "import sys, torch; from prime_core.models.load import load_model;"
        "from tests.support.training_steps import *; distributed.start_ranks();"
        "trainer = trainer_of(0, load_model(sys.argv[1], 'float32'));"
        "trainer.load_state(Path(sys.argv[1])); run_steps(trainer, PLAN[1:]);"
        "torch.save(weights_of(trainer), sys.argv[2])"
    )
    ours = {"RANK", "WORLD_SIZE", "LOCAL_RANK"}
    environment = {key: value for key, value in os.environ.items() if key not in ours}
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "policy"), str(tmp_path / "weights.pt")],
        cwd=ROOT,
        env=environment,
        check=True,
    )
    assert difference(torch.load(tmp_path / "weights.pt"), weights_of(through)) == 0
