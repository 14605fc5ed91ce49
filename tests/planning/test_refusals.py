"""`prime plan` refuses what cannot fit, in sentences that say what to change."""

import pytest

from prime_core.launch.site.site import Pool, Site
from prime_core.planning import command
from prime_core.planning.command import Options, find_shape
from prime_core.planning.shapes import PlanError
from prime_core.settings.reading import SettingsError
from prime_core.settings.run import Settings
from tests.support.paper_plan import planned

pytestmark = pytest.mark.usefixtures("without_site")

BY_ROWS = {"training__max_token_len_per_gpu": None}  # micro_batch_size counts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("speed=3", r"--assume speed=3: expected NAME=VALUE, NAME one of prompt_share, .*"),
        ("training_mfu", r"--assume training_mfu: expected NAME=VALUE"),
        ("training_mfu=2", r"--assume training_mfu=2: Input should be less than or equal to 1"),
        ("training_mfu=fast", r"--assume training_mfu=fast: Input should be a valid number"),
    ],
)
def test_a_wrong_assumption_is_refused(text, expected):
    with pytest.raises(SettingsError, match=expected):
        command.assumptions((text,))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"rollout__tensor_parallel_size": 3},
            "rollout.tensor_parallel_size 3 does not divide the model's 28 attention heads "
            "(4 for keys and values): set it to one of 1, 2, 4, 28",
        ),
        (
            {"rollout__tensor_parallel_size": 2},
            "sample: rollout.tensor_parallel_size 2 needs as many GPUs per job, which has 1: "
            "raise sample.gpus_per_node in the file of stage_resources",
        ),
        (
            {"rollout__max_response_length": 4096},
            "rollout.max_response_length 4096 plus data.max_prompt_length 1024 exceeds the "
            "model's 4096 positions: lower one of them",
        ),
        (
            BY_ROWS | {"policy__micro_batch_size": 4, "training__zero_stage": 1},
            "policy: needs 137.5 GiB per GPU, 79 GiB available: lower policy.micro_batch_size 4, "
            "raise training.zero_stage 1, set training.gradient_checkpointing to true, set "
            "training.offload_optimizer to cpu, or give policy more GPUs than 8 (stage_resources)",
        ),
        (
            BY_ROWS | {"prm__micro_batch_size": 120},
            "score: needs 85.7 GiB per GPU, 79 GiB available: lower prm.micro_batch_size 120 or "
            "lower rollout.max_response_length",
        ),
        (
            {"training__max_token_len_per_gpu": 16384, "training__zero_stage": 1},
            "policy: needs 137.5 GiB per GPU, 79 GiB available: lower "
            "training.max_token_len_per_gpu 16384, raise training.zero_stage 1, set "
            "training.gradient_checkpointing to true, set training.offload_optimizer to cpu, or "
            "give policy more GPUs than 8 (stage_resources)",
        ),
        (
            {"rollout__sampler": "transformers", "rollout__sampler_batch_size": 512},
            "sample: needs 135.1 GiB per GPU, 79 GiB available: lower rollout.sampler_batch_size, "
            "or set rollout.sampler to vllm",
        ),
        (
            {"rollout__gpu_memory_utilization": 0.2},
            "sample: needs 81.4 GiB per GPU, 79 GiB available: lower "
            "rollout.gpu_memory_utilization, or raise rollout.tensor_parallel_size",
        ),
        (
            {"rollout__gpu_memory_utilization": 0.2328},
            "sample: vLLM's key-value cache has 0.2 GiB per GPU, but one sequence of 4096 tokens "
            "needs 0.2: raise rollout.tensor_parallel_size or rollout.gpu_memory_utilization",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused_with_what_to_change(changes, expected):
    assert expected in planned(**changes).problems


def test_a_budget_that_is_too_small_is_refused_with_what_the_run_takes():
    hours = planned().total.gpu_hours
    assert planned(max_gpu_hours=100).problems == (
        f"max_gpu_hours: the run takes about {hours:.0f} GPU-hours and would stop after 100: raise "
        "it, or lower iterations 592",
    )


@pytest.mark.parametrize(
    ("stage", "values", "expected"),
    [
        (
            "score",
            {"runtime": 1},
            "score: takes about 2 minutes, and its job asks for 1: set score.runtime to 10 in the "
            "file of stage_resources",
        ),
        (
            "sample",
            {"runtime": 2},
            "sample: takes about 4 minutes, and its job asks for 2: set sample.runtime to 10 in "
            "the file of stage_resources, or split it into more shards (rollout.num_shards)",
        ),
        (
            "policy",
            {"mem_mb": 200000},
            "policy: needs 256 GB of host memory per node, and its job asks for 200: set "
            "policy.mem_mb to 257000 in the file of stage_resources",
        ),
        (
            "policy",
            {"runtime": 3},
            "policy: its job of 3 minutes ends before it has read its weights and written a "
            "checkpoint: set policy.runtime to 10 in the file of stage_resources",
        ),
    ],
)
def test_stages_that_ask_for_too_little_are_refused(stage, values, expected):
    assert planned({stage: values}).problems == (expected,)


def test_an_update_longer_than_its_job_is_no_problem_as_long_as_it_can_stop_inside():
    slow = Options(assume=("training_mfu=0.01",))
    assert planned({"policy": {"runtime": 30}}, slow).stages["policy"].seconds.total > 30 * 60
    assert not any(
        "policy" in problem for problem in planned({"policy": {"runtime": 30}}, slow).problems
    )
    slow_disk = Options(assume=("training_mfu=0.01",), disk_gb_per_s=0.5)
    (problem,) = (
        one for one in planned({"policy": {"runtime": 30}}, slow_disk).problems if "policy" in one
    )
    assert "its checkpoint takes 244 s to write, more than the 120 s of warning" in problem


def test_too_small_a_disk_is_refused():
    (problem,) = planned(disk_tb=2.0).problems
    assert problem == (
        "disk: peaks at 2.23 TB, 2 TB available (--disk-tb): raise checkpoints.save_freq 80 "
        "(0 keeps the last ones alone), or lower checkpoints.keep_last 1"
    )
    assert planned(disk_tb=2.3).problems == ()


def test_more_gpus_than_the_sites_nodes_have_are_refused():
    site = Site(gpu=Pool(gpu_model="a100", gpus_per_node=4))
    assert command.site_problems(planned(), site) == [
        f"{name}: 8 GPUs per node, but the site's have 4: lower {name}.gpus_per_node in the file "
        "of stage_resources"
        for name in ("score", "prm", "policy")
    ]


def test_an_unknown_model_is_refused():
    settings = Settings.model_validate({"model": {"path": "some/unknown"}})
    with pytest.raises(PlanError, match=r"model\.path some/unknown: neither a folder, nor fetched"):
        find_shape(settings, None)


@pytest.mark.parametrize(
    ("text", "expected"), [("{", "not readable"), ("[]", "expected a mapping")]
)
def test_a_damaged_configuration_is_refused(text, expected, tmp_path):
    (tmp_path / "config.json").write_text(text)
    settings = Settings.model_validate({"model": {"path": str(tmp_path)}})
    with pytest.raises(PlanError, match=rf"config.json: {expected}"):
        find_shape(settings, None)
