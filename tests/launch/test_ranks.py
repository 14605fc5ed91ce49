"""How a rule's resources become ranks."""

import subprocess

import pytest

from prime_core.launch.slurm.ranks import launcher

IN_JOB = {"SLURM_JOB_ID": "7"}


@pytest.mark.parametrize(
    "resources", [{}, {"nodes": 1, "tasks": 1}, {"gpu_count": 1, "mpi": "srun"}]
)
def test_one_rank_is_started_by_nothing(resources):
    assert launcher(resources, IN_JOB) == launcher(resources, {}) == ""


def test_ranks_on_one_machine_are_started_by_torchrun():
    assert launcher({"tasks_per_node": 2, "mpi": "srun"}, {}).startswith(
        "torchrun --standalone --nproc-per-node=2 "
    )


def test_a_stage_that_shares_a_node_takes_gpus_of_its_own():
    node = IN_JOB | {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    assert launcher({"gpu_count": 1}, node) == "prime gpus 1 "
    assert launcher({"gpu_count": 2, "tasks": 2}, node).startswith("prime gpus 2 torchrun ")
    assert "prime gpus" not in launcher({"gpu_count": 4, "tasks": 4}, node)
    assert launcher({"gpu_count": 1}, IN_JOB | {"CUDA_VISIBLE_DEVICES": "3"}) == ""
    assert "prime gpus" not in launcher({"gpu_count": 2, "nodes": 2, "tasks": 2}, node)


@pytest.mark.parametrize("counts", [{"tasks_per_node": 4}, {"tasks": 8}])
def test_ranks_in_a_job_are_started_by_srun_with_all_numbers(counts):
    command = launcher({"nodes": 2, "cpus_per_task": 3} | counts, IN_JOB)
    assert "--nodes=2 --ntasks=8 --ntasks-per-node=4 --cpus-per-task=3 " in command


def test_several_nodes_outside_of_slurm_end_with_a_sentence():
    command = launcher({"nodes": 2, "tasks": 2}, {})
    done = subprocess.run(["bash", "-c", f"{command} true"], capture_output=True, text=True, env={})
    assert done.returncode != 0
    assert "several nodes need a Slurm job" in done.stderr


def test_tasks_that_do_not_divide_over_nodes_are_refused():
    with pytest.raises(ValueError, match="tasks 3 do not divide over nodes 2"):
        launcher({"nodes": 2, "tasks": 3}, IN_JOB)
