"""`prime plan`: what it prints, what it refuses, and that its counts are those of real runs."""

import json
import shutil

import pytest

from benchmarks.paper_plans import documented, replaced
from prime_core.cli.main import main
from prime_core.launch.site.allocation import load_allocation
from prime_core.launch.site.site import Pool, Site
from prime_core.planning import command
from prime_core.planning.command import Options, find_shape
from prime_core.planning.disk import kept_iterations, model_bytes
from prime_core.planning.gpus import gpu_of
from prime_core.planning.hardware import Assumptions
from prime_core.planning.known_shapes import KNOWN
from prime_core.planning.seconds import forward_flops
from prime_core.planning.workload import workload
from prime_core.run.state import RunState
from prime_core.settings.reading import parse_settings
from prime_core.settings.run import Settings
from tests.support.paper_plan import PRIME, planned
from tests.support.shared_data import ROOT

pytestmark = pytest.mark.usefixtures("without_site")
STAGES = ROOT / "cluster_profiles" / "stages-7b.yaml"


def output(capsys, *words: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of the command."""
    with pytest.raises(SystemExit) as ended:
        main(["plan", *words])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def test_the_papers_run_fits_on_eight_gpus_of_80_gb(capsys):
    status, page, _ = output(capsys, "--configfile", str(PRIME))
    assert status == 0
    assert page.rstrip().endswith("It fits.")
    assert "7.62 B parameters, bfloat16, ZeRO stage 2" in page
    assert max(map(len, page.splitlines())) <= 100
    for title in ("MEMORY OF ONE GPU", "MEMORY OF A NODE", "DISK", "SECONDS OF ONE JOB", "ASSUMED"):
        assert title in page


def test_the_quickstart_fits(capsys):
    status, page, _ = output(capsys)
    assert status == 0
    assert "built from scratch, 0.15 M parameters" in page


def test_settings_that_cancel_each_other_are_said_beside_the_plan(capsys):
    status, _, said = output(capsys, "--config", "policy.adv_estimator=dr_grpo")
    assert status == 0
    assert "policy.whiten=false is dr_grpo as published" in said


def test_what_does_not_fit_is_refused_in_sentences(capsys):
    status, page, errors = output(
        capsys, "--configfile", str(PRIME), "--gpu-memory-gb", "24", "--disk-tb", "1"
    )
    assert status == 1
    assert "CANNOT WORK" in page
    assert errors == "eurus2-7b-prime: cannot work, see the 3 reasons above\n"
    assert max(map(len, page.splitlines())) <= 100


def test_programs_get_the_same_as_json(capsys):
    status, text, _ = output(capsys, "--configfile", str(PRIME), "--json", "--gpu", "h100")
    found = json.loads(text)
    assert status == 0
    assert found["num_parameters"] == 7_615_616_512
    assert found["gpu"] == {"name": "h100", "memory_gib": 79.0}
    policy = found["stages"]["policy"]
    parts = policy["gpu_gib"]
    assert parts.pop("total") == pytest.approx(sum(parts.values()))
    seconds = policy["seconds"]
    assert seconds.pop("total") == pytest.approx(sum(seconds.values()))
    assert found["problems"] == []


def test_overrides_sizes_and_assumptions_are_those_of_the_command_line(capsys):
    words = ["--configfile", str(PRIME), "--model-size", "0.5b", "--json", "--assume", "start_s=1"]
    words += ["--config", "iterations=10", "training.zero_stage=1"]
    found = json.loads(output(capsys, *words)[1])
    assert found["num_parameters"] == KNOWN["qwen2.5-0.5b"].num_parameters
    assert found["kept_iterations"] == [10]
    assert found["stages"]["score"]["seconds"]["start"] == 1
    assert found["assumptions"]["start_s"] == 1


def test_the_allocation_for_a_7b_model_has_room_for_its_largest_stage_and_its_weights():
    found = planned()
    site = Site(gpu=Pool(gpus_per_node=8, max_mem_mb=1_000_000, max_cpus=128))
    path = ROOT / "cluster_profiles" / "allocation" / "allocation-7b.yaml"
    allocation = load_allocation(path, {}, site)
    assert allocation.gpus == max(stage.machine.num_gpus for stage in found.stages.values())
    assert allocation.fast_storage_gb * 1e9 > 2 * found.disk.folder
    largest = max(stage.machine.mem_mb for stage in found.stages.values())
    assert allocation.mem_gb > allocation.fast_storage_gb + largest / 1000
    assert allocation.reserve_minutes * 60 > 4 * found.stages["policy"].seconds.write


def test_a_site_without_gpus_is_planned_for_its_processors(capsys, tmp_path, monkeypatch):
    (tmp_path / "site.yaml").write_text("cpu: {partition: main}\n")
    monkeypatch.setenv("PRIME_SITE", str(tmp_path / "site.yaml"))
    status, page, _ = output(capsys)
    assert status == 0
    assert f"no GPUs ({tmp_path / 'site.yaml'})" in page
    assert "MEMORY OF ONE RANK" in page
    problems = json.loads(output(capsys, "--configfile", str(PRIME), "--json")[1])["problems"]
    assert any("97 GB of host memory per node" in problem for problem in problems)


def test_the_sites_gpu_is_taken_and_options_win():
    site = Site(gpu=Pool(gpu_model="h200", gpus_per_node=8))
    assert command.choose_gpu(site, Options())[0].memory_gib == 139
    assert command.choose_gpu(site, Options(gpu="l40s")) == (gpu_of("l40s")[0], "")
    assert command.choose_gpu(site, Options(gpu_memory_gb=20))[0].memory_gib == 20


def test_a_models_own_folder_is_read(tiny_model):
    settings = Settings.model_validate({"model": {"path": str(tiny_model)}})
    name, shape = find_shape(settings, None)
    assert (name, shape.hidden_size, shape.num_layers) == (str(tiny_model), 16, 2)
    weights = (tiny_model / "model.safetensors").stat().st_size
    assert model_bytes(shape, 4) == pytest.approx(weights, rel=0.2)  # the file's head is large here


def test_a_model_of_the_hubs_cache_is_read(tiny_model, tmp_path, monkeypatch):
    monkeypatch.undo()
    snapshot = tmp_path / "models--some--model" / "snapshots" / "abc"
    shutil.copytree(tiny_model, snapshot)
    (tmp_path / "models--some--model" / "refs").mkdir()
    (tmp_path / "models--some--model" / "refs" / "main").write_text("abc")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    settings = Settings.model_validate({"model": {"path": "some/model"}})
    assert find_shape(settings, None)[1].hidden_size == 16


@pytest.mark.parametrize(
    ("iterations", "keep_last", "save_freq", "staleness"),
    [(7, 1, 3, 0), (6, 2, 3, 0), (3, 5, 0, 0), (0, 1, 1, 0), (7, 1, 3, 1)],
)
def test_kept_iterations_are_those_that_a_run_keeps(
    iterations, keep_last, save_freq, staleness, tmp_path
):
    settings = Settings.model_validate(
        {
            "results": str(tmp_path),
            "iterations": iterations,
            "checkpoints": {"keep_last": keep_last, "save_freq": save_freq},
            "rollout": {"max_staleness": staleness},
        }
    )
    state = RunState(settings)
    kept = tuple(i for i in range(1, iterations + 1) if state.is_kept(i))
    assert kept_iterations(settings) == kept


def test_refill_rounds_ask_for_what_is_missing():
    def work(**changes):
        raw = {"rollout_batch_size": 100, "n_samples_per_prompt": 2, "oversample_factor": 2.0}
        settings = Settings.model_validate({"rollout": raw | changes})
        return workload(settings, Assumptions(pass_share=0.25))

    # 200 asked, 50 pass; another 2 x 50 asked, 25 pass; another 2 x 25, 12.5
    assert work().trained_responses == 2 * 50
    assert work(refill_rounds=1).trained_responses == 2 * 75
    assert work(refill_rounds=2).sampled_responses == 2 * (200 + 100 + 50)
    assert work(refill_rounds=2).num_shards == 6
    assert work(refill_rounds=2, min_batch_fill=0.7).sampled_responses == 2 * (200 + 100)


def test_flops_are_two_for_each_weight_and_token_and_attention():
    shape = KNOWN["qwen2.5-7b"]
    weights = 28 * shape.layer_parameters + 152064 * 3584
    attention = 2 * 28 * 3584 * 101**2
    assert forward_flops(shape, 1, 100) == pytest.approx(2 * weights * 101 + attention)


def test_updates_take_about_as_long_as_the_paper_measured():
    """On 8 A800 an iteration spent 281.7 s on sampling, 156.6 on the policy, 150.9 on the PRM."""
    stages = planned(options=Options(gpu="a800")).stages
    for stage, seconds in (("policy", 156.6), ("prm", 150.9), ("sample", 281.7)):
        assert 0.3 < stages[stage].seconds.compute / seconds < 1.5, stage


def test_prm_and_policy_run_side_by_side_where_there_are_gpus_for_both():
    few, many = planned(), planned(options=Options(gpus=16))
    prm = few.stages["prm"].seconds.total
    assert few.total.iteration_seconds - many.total.iteration_seconds == pytest.approx(prm)
    assert few.total.gpu_hours == many.total.gpu_hours


def test_an_older_policy_samples_beside_training_where_there_are_gpus_for_both():
    few, many = (planned(options=Options(gpus=n), rollout__max_staleness=1) for n in (8, 16))
    apart = planned(options=Options(gpus=16))
    learning = sum(many.stages[stage].seconds.total for stage in ("score", "prm", "policy"))
    assert few.total.iteration_seconds == planned().total.iteration_seconds
    assert learning <= many.total.iteration_seconds + 1e-6 < apart.total.iteration_seconds
    assert many.total.gpu_hours == apart.total.gpu_hours
    surplus = planned(rollout__max_staleness=1, rollout__stale_rollouts="surplus")
    assert surplus.disk.num_files == planned().disk.num_files + 592
    assert surplus.disk.tables > planned().disk.tables


def test_recomputing_and_off_loading_save_memory_and_cost_time_or_host_memory(capsys):
    usual = planned().stages["policy"]
    again = planned(training__gradient_checkpointing=True).stages["policy"]
    away = planned(training__offload_optimizer="cpu").stages["policy"]
    assert again.gpu["activations"] < 0.2 * usual.gpu["activations"]
    # the forward pass once more: 1 for old log-probabilities, then 4 in place of 3
    assert again.seconds.compute == pytest.approx(usual.seconds.compute * 5 / 4)
    assert away.gpu["optimizer states"] == away.gpu["float32 copy"] == 0
    assert away.gpu["gradients"] == usual.gpu["gradients"]  # float32 sums stay until the step
    # four float32 numbers, weights on their way back
    assert away.host - usual.host == pytest.approx(7.615616512e9 * (16 + 2))
    away = planned(training__offload_optimizer="cpu", training__grad_accum_dtype="model").stages[
        "policy"
    ]
    assert away.gpu["gradients"] == 0
    # as they come
    assert away.host - usual.host == pytest.approx(7.615616512e9 * (16 + 2 + 2))
    text = "training.gradient_checkpointing=true training.offload_optimizer=cpu"
    page = output(capsys, "--configfile", str(PRIME), "--config", *text.split())[1]
    assert "ZeRO stage 2, gradient checkpointing, optimizer on the host" in page.splitlines()[0]


def test_vllm_samples_sooner_than_batches_that_wait_for_their_longest_response():
    vllm, batches = planned(), planned(rollout__sampler="transformers")
    assert batches.stages["sample"].seconds.compute > 2 * vllm.stages["sample"].seconds.compute


def test_an_evaluation_of_the_first_problems_takes_their_share_of_the_time():
    settings = parse_settings(
        {"evaluation.benchmarks": {"few": {"num_problems": 100}, "all": {}}}, ""
    )
    benchmarks = workload(settings, Assumptions(problems=1000)).benchmarks
    assert (benchmarks["few"].num_responses, benchmarks["all"].num_responses) == (100, 1000)


def test_outcome_rewards_alone_need_no_prm():
    found = planned(prm__prm_update="none")
    assert not {"prm", "score"} & set(found.stages)
    assert found.disk.at_end < planned().disk.at_end / 1.9


def test_the_plans_in_the_documentation_are_todays():
    for path, first, text in documented():
        guide = (ROOT / path).read_text(encoding="utf-8")
        # Else `python -m benchmarks.paper_plans --write` puts them there.
        assert f"\n{text}\n" in guide, path
        assert replaced(guide, first, text) == guide
        assert text not in replaced(guide, first, "another")


def test_the_page_in_the_guide_is_what_the_command_prints(capsys):
    guide = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
    words = ("--configfile", "configs/paper/eurus2_7b_prime.yaml", "--way", "allocation")
    assert f"`prime plan {' '.join(words)}`" in guide
    assert f"```text\n{output(capsys, *words)[1]}```" in guide
