"""The plan of a value model, of PRMs of other sizes, of offline training: sizes, memory, stages."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from prime_core.planning.activations import (
    Pass,
    forward_bytes,
    kept_activations,
    kept_logits,
    work_bytes,
)
from prime_core.planning.case import Shapes
from prime_core.planning.command import Options, find_shape, make_case
from prime_core.planning.disk import JOB_FILES, REPORT_FILES
from prime_core.planning.known_shapes import KNOWN
from prime_core.planning.page import page
from prime_core.planning.plan import plan
from prime_core.planning.shapes import PlanError, shape_from_config
from prime_core.settings.run import Settings
from prime_core.training.value_model import load_value_model, state_values
from tests.planning.test_memory import model_of, ragged
from tests.support.live_memory import LiveMemory
from tests.support.paper_plan import planned
from tests.support.workflow_runs import TINY

pytestmark = pytest.mark.usefixtures("without_site")
PPO: dict[str, Any] = {"policy__adv_estimator": "gae"}
OFFLINE: dict[str, Any] = {"prm__offline": {"file": "labelled.parquet"}}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """A folder with the language model that a value model is made of."""
    folder = tmp_path_factory.mktemp("model")
    model_of(torch.float32, vocab_size=2048).save_pretrained(folder)
    return folder


def value_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    return replace(shape_from_config(config, "model"), scalar_head=True)


def test_a_value_model_has_the_planned_parameters(backbone):
    model = load_value_model(backbone, "float32")
    assert value_shape(backbone).num_parameters == sum(w.numel() for w in model.parameters())
    tied = replace(KNOWN["qwen2.5-3b"], scalar_head=True)
    assert tied.num_parameters == KNOWN["qwen2.5-3b"].num_parameters + 2048 + 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_value_models_passes_need_what_was_planned(backbone, dtype):
    width = {"float32": 4, "bfloat16": 2}[dtype]
    one_pass = Pass(2, 64, 448, width, packed=True)
    model, shape = load_value_model(backbone, dtype).train(), value_shape(backbone)
    batch = ragged(one_pass)
    state_values(model, batch).sum().backward()  # gradients have their place
    with LiveMemory() as found:
        loss = state_values(model, batch).sum()
        kept = found.live
        loss.backward()
    activations = kept_activations(shape, one_pass)
    assert kept == pytest.approx(activations + kept_logits(shape, one_pass), rel=0.02)
    assert 0.85 < found.most / (activations + work_bytes(shape, one_pass)) < 1.03
    with torch.no_grad(), LiveMemory() as forward:
        state_values(model, batch)
    assert forward.most == pytest.approx(forward_bytes(shape, one_pass), rel=0.15)


def test_ppo_adds_a_value_model_and_its_two_stages():
    ppo, rloo = planned(**PPO), planned()
    assert set(ppo.stages) - set(rloo.stages) == {"values", "value"}
    value, policy = ppo.stages["value"], ppo.stages["policy"]
    assert value.gpu["weights"] < policy.gpu["weights"]  # no output layer
    assert value.gpu["logits, or a layer"] < policy.gpu["logits, or a layer"]
    assert value.seconds.compute < ppo.stages["prm"].seconds.compute
    assert ppo.disk.folders["value"] == pytest.approx(ppo.disk.folders["prm"], rel=0.1)
    assert ppo.disk.most - rloo.disk.most > 8 * ppo.disk.folders["value"]
    assert ppo.total.num_jobs == rloo.total.num_jobs + 2 * 592
    alone = planned(**PPO, prm__prm_update="none")
    assert {"values", "value"} < set(alone.stages)
    assert not {"prm", "score"} & set(alone.stages)


def test_monte_carlo_values_are_two_stages_that_are_counted():
    monte_carlo: dict[str, Any] = PPO | {"value__source": "monte_carlo", "prm__prm_update": "none"}
    found, plain = planned(**monte_carlo), planned(prm__prm_update="none")
    assert set(found.stages) - set(plain.stages) == {"continuations", "step_values"}
    shards, iterations = found.case.settings.rollout.num_shards, 592
    assert found.total.num_jobs == plain.total.num_jobs + iterations * (shards + 1)
    assert found.disk.num_files > plain.disk.num_files
    assert found.disk.tables > 2 * plain.disk.tables
    work = found.case.work
    assert work.continued is not None
    # Ten steps: the prompt once in four responses, then nine states, nine continuations each.
    assert work.continued.num_states == pytest.approx(work.trained_responses * (9 + 1 / 4))
    assert work.continued_ratio == pytest.approx(9 * (9 * 0.5 + 0.25))
    assert found.total.gpu_hours > plain.total.gpu_hours
    added = set(found.stages) - set(plain.stages)
    assert [step.stage for step in found.path if step.stage in added] == [
        "continuations",
        "step_values",
    ]
    few = planned(**monte_carlo, value__max_steps=2)
    assert few.case.work.continued_ratio == pytest.approx(9 * (0.9 + 0.25))


def test_a_prm_that_gives_the_values_is_no_model_of_its_own():
    found = planned(**PPO, value__source="prm", prm__prime_norm="none")
    assert set(found.stages) == set(planned().stages)


def test_updates_side_by_side_take_as_long_as_the_longest():
    few, many = planned(**PPO), planned(**PPO, options=Options(gpus=24))
    shorter = few.stages["prm"].seconds.total + few.stages["value"].seconds.total
    saved = few.total.iteration_seconds - many.total.iteration_seconds
    assert saved == pytest.approx(shorter)
    assert few.total.gpu_hours == many.total.gpu_hours


def test_a_prm_of_another_size_is_planned_as_such():
    sizes: dict[str, Any] = {
        "prm__path": "Qwen/Qwen2.5-3B",
        "prm__reference_path": "Qwen/Qwen2.5-3B",
    }
    small, same = planned(**sizes), planned()
    assert small.case.shapes.prm == KNOWN["qwen2.5-3b"]
    for stage in ("prm", "score"):
        assert small.stages[stage].gpu_bytes < same.stages[stage].gpu_bytes
        assert small.stages[stage].seconds.total < same.stages[stage].seconds.total
    assert small.stages["policy"] == same.stages["policy"]
    assert small.disk.states["prm"] < 0.5 * same.disk.states["prm"]
    with pytest.raises(PlanError, match=r"prm\.path some/unknown: neither a folder, nor fetched"):
        planned(prm__path="some/unknown")


def test_a_prms_own_reference_counts_in_scoring():
    large = planned(prm__path="Qwen/Qwen2.5-3B", prm__reference_path="Qwen/Qwen2.5-14B")
    assert large.stages["score"].gpu["weights"] == 2 * KNOWN["qwen2.5-14b"].num_parameters


def test_offline_training_is_planned_once_and_an_offline_prm_never_again():
    offline = planned(**OFFLINE, prm__prm_update="frozen")
    assert {"prm_data", "prm_offline", "score"} < set(offline.stages)
    assert "prm" not in offline.stages
    assert (offline.stages["prm_offline"].each, offline.stages["prm_offline"].jobs) == ("run", 1)
    twice = planned(
        **OFFLINE, prm__prm_update="frozen", options=Options(assume=("labelled=1000000",))
    )
    for stage in ("prm_data", "prm_offline"):
        seconds = [found.stages[stage].seconds.compute for found in (offline, twice)]
        assert seconds[1] == pytest.approx(2 * seconds[0])
    assert offline.disk.at_end - planned(prm__prm_update="none").disk.at_end == pytest.approx(
        2 * KNOWN["qwen2.5-math-7b"].num_parameters
    )


def test_dpo_and_double_forward_cost_another_pass():
    usual, dpo = planned().stages["prm"], planned(prm__loss_type="dpo").stages["prm"]
    before = planned(prm__prm_update="before").stages["prm"]
    assert dpo.seconds.compute == pytest.approx(usual.seconds.compute * 4 / 3)
    assert before.seconds.compute == pytest.approx(usual.seconds.compute * 4 / 3)


def test_steps_of_an_off_loaded_optimizer_take_the_processors_time():
    usual, away = planned(), planned(training__offload_optimizer="cpu")
    steps, share = 4, 7.615616512e9 / 8
    for stage in ("prm", "policy"):
        longer = away.stages[stage].seconds.compute - usual.stages[stage].seconds.compute
        assert longer == pytest.approx(steps * share * 7.5e-9, rel=0.01)


def test_a_difficulty_pass_samples_all_problems_in_its_shards():
    found = planned(data__difficulty={"num_shards": 16})
    difficulty = found.stages["difficulty"]
    assert (difficulty.each, difficulty.jobs) == ("run", 16)
    more = planned(data__difficulty={"num_shards": 32})
    assert difficulty.seconds.compute > 1.9 * more.stages["difficulty"].seconds.compute


def test_each_benchmark_has_its_own_length_of_time():
    many = {"n_samples_per_prompt": 10, "max_response_length": 3072}
    rows = {"long": many, "short": {"num_problems": 30, "max_response_length": 3072}}
    found = planned(evaluation__benchmarks=rows).stages["evaluate"]
    assert found.seconds.total < found.total_seconds < 2 * found.seconds.total


def test_a_prm_that_scores_an_evaluation_takes_its_time():
    row = {"n_samples_per_prompt": 16, "num_problems": 64, "max_response_length": 3072}
    plain, scored = (
        planned(evaluation__benchmarks={"some": row | changes}).stages["evaluate"].seconds
        for changes in ({}, {"scorer": "prm"})
    )
    # as many responses as a batch has, on one GPU of the eight that share a batch
    passes = planned().stages["score"].seconds
    assert scored.compute - plain.compute == pytest.approx(8 * passes.compute, rel=0.01)
    assert scored.read - plain.read == pytest.approx(passes.read)


def test_what_one_batch_leaves_over_the_next_does_not_ask_for():
    usual: dict[str, Any] = {"rollout__oversample_factor": 5.0, "rollout__refill_rounds": 0}
    surplus = usual | {"rollout__max_staleness": 1, "rollout__stale_rollouts": "surplus"}
    asked, less = planned(**usual).case.work, planned(**surplus).case.work
    assert asked.sampled_responses == 4 * 256 * 5
    assert less.sampled_responses == pytest.approx(4 * 256 / 0.31)
    assert less.trained_responses == pytest.approx(asked.trained_responses)


def test_the_tokens_of_a_tree_are_sampled_once_and_trained_on_once_for_each_leaf():
    tree = {"m": 6, "n": 2, "l": 1, "t": 2}
    chains = planned(rollout__n_samples_per_prompt=30)
    trees = planned(rollout__n_samples_per_prompt=30, rollout__tree=tree)
    work = trees.case.work
    # Of 30 responses 24 begin, on average, in the middle of another.
    assert work.own_share == pytest.approx((6 + 24 / 2) / 30)
    assert work.sampled_tokens == pytest.approx(0.6 * chains.case.work.sampled_tokens)
    assert work.trained_tokens == pytest.approx(chains.case.work.trained_tokens)
    assert f"trees: {work.sampled_tokens:,.0f} tokens sampled" in page(trees, [trees], "m", "s")
    one, other = (found.stages["sample"].seconds.compute for found in (trees, chains))
    assert one < other
    late = planned(
        options=Options(assume=("fork_position=0.9",)),
        rollout__n_samples_per_prompt=30,
        rollout__tree=tree,
    ).case.work
    assert late.own_share == pytest.approx((6 + 24 * 0.1) / 30)


def test_a_run_with_every_stage_has_the_jobs_and_files_that_such_a_run_left():
    changes = {
        "iterations": 1,
        "rollout": TINY["rollout"] | {"num_shards": 1},
        "prm": {"offline": {"file": "labelled.jsonl"}},
        "policy": {"adv_estimator": "gae"},
        "data": {"difficulty": {"num_shards": 2}},
    }
    settings = Settings.model_validate(TINY | changes)
    found = plan(make_case(settings, None, find_shape(settings, None)[1], Options()))
    assert found.total.num_jobs == 19
    assert found.disk.num_files - REPORT_FILES == 162


STEPS = {"files": {"gsm8k": "gsm8k.jsonl", "math": "math.jsonl"}, "num_rows": 400}


def test_scoring_given_steps_is_one_job_an_evaluation():
    without, found = planned(), planned(evaluation__steps=STEPS)
    evaluations = len(found.case.work.evaluated_iterations)
    assert found.total.num_jobs == without.total.num_jobs + evaluations
    assert found.disk.num_files == without.disk.num_files + evaluations * (JOB_FILES + 2)
    assert found.disk.tables > without.disk.tables
    assert found.total.gpu_hours > without.total.gpu_hours
    assert found.total.evaluation_seconds >= without.total.evaluation_seconds


def test_scoring_given_steps_alone_takes_as_long_as_both_models_need_for_them():
    alone: dict[str, Any] = {"evaluation__steps": STEPS, "evaluation__benchmarks": {}}
    one = planned(**alone).stages["evaluate"].seconds
    twice = planned(**alone | {"evaluation__steps": STEPS | {"num_rows": 800}}).stages["evaluate"]
    assert twice.seconds.compute == pytest.approx(2 * one.compute)
    assert twice.seconds.read == one.read > 0
    assert one.engine == 0


def test_training_states_in_memory_leave_the_files_of_the_jobs_that_write_them():
    kept, written = (
        planned(options=Options(way="allocation"), training__state_storage=where)
        for where in ("memory", "disk")
    )
    assert kept.case.states_in_memory
    models = len(kept.case.settings.trained)
    jobs = models * len(kept.case.settings.own_iterations)
    assert kept.disk.num_files == written.disk.num_files + jobs * (JOB_FILES + 1)


def test_verification_by_a_model_is_planned_as_sampling_from_it():
    judge = {"path": "Qwen/Qwen2.5-3B-Instruct", "prompt": "p.txt", "max_tokens": 64}
    rules = planned().stages["verify"]
    model = planned(verification__judge=judge).stages["verify"]
    assert (rules.gpu_bytes, rules.machine.num_gpus) == (0, 0)
    sample = planned().stages["sample"]
    assert model.machine.num_gpus == sample.machine.num_gpus > 0
    assert 0 < model.gpu["weights"] < sample.gpu["weights"]
    assert model.seconds.compute > rules.seconds.compute


def test_stages_know_their_models():
    one, two = KNOWN["qwen2.5-7b"], KNOWN["qwen2.5-3b"]
    shapes = Shapes(one, two, two, replace(one, scalar_head=True), one)
    assert shapes.of_stage("prm") is two
    assert shapes.of_stage("sft") is shapes.of_stage("policy") is one
    assert shapes.of_stage("values") is shapes.of_stage("value") is shapes.value
