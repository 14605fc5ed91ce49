"""The ways in which stages start: what each spares, and which of them is named."""

import json
from dataclasses import replace
from typing import Any

import pytest

from prime_core.cli.main import main
from prime_core.data.forms import FORMS
from prime_core.launch.site.site import Site
from prime_core.planning.command import Options, find_shape, make_case
from prime_core.planning.comparison import much_quicker, plans_of, quickest
from prime_core.planning.known_shapes import shape_of_size
from prime_core.planning.page import page
from prime_core.planning.plan import Plan, num_starts, plan
from prime_core.planning.ways import PLACES, RESIDENT, Way, all_ways, way_of
from prime_core.settings.evaluation import Benchmark
from prime_core.settings.reading import load_yaml, parse_settings, settings_of
from prime_core.settings.run import Settings
from tests.support.paper_plan import PRIME, planned
from tests.support.shared_data import ROOT

pytestmark = pytest.mark.usefixtures("without_site")
SMALL = ROOT / "configs" / "gsm8k_qwen05b.yaml"
SLURM, FORK = Way("slurm", "none"), Way("allocation", "fork")
LOCAL, KEPT = Way("local", "fork"), Way("allocation", "engines")


def in_way(way: Way, found: Plan | None = None, states: str = "disk", **changes: Any) -> Plan:
    """The paper's run, or that of another plan, in a way. states: training.state_storage."""
    case = (found or planned(**changes)).case
    training = case.settings.training.model_copy(update={"state_storage": states})
    settings = case.settings.model_copy(update={"training": training})
    return plan(replace(case, way=way, settings=settings))


def small() -> Plan:
    """A run of 0.5 B on one GPU, with responses of up to 1,024 tokens."""
    settings = settings_of([SMALL], ["rollout.max_response_length=1024"])
    return plan(make_case(settings, None, find_shape(settings, None)[1], Options()))


def part(found: Plan, phase: str) -> float:
    return sum(getattr(step.seconds, phase) for step in found.path)


@pytest.mark.parametrize("way", [SLURM, FORK, LOCAL, KEPT], ids=lambda way: way.name)
@pytest.mark.parametrize("states", ["disk", "memory"])
def test_the_steps_of_the_critical_path_add_up_to_the_iteration(way, states):
    found = in_way(way, states=states)
    assert sum(step.seconds.total for step in found.path) == found.total.iteration_seconds
    names = [step.stage for step in found.path]
    assert names == ["sample", "verify", "sample", "verify", "select", "score", "prm", "policy"]
    before = [step.stage for step in in_way(way, prm__prm_update="before").path]
    assert before[-3:] == ["prm", "score", "policy"]  # as the graph has it


def test_a_job_of_its_own_waits_for_slurm_and_imports_everything():
    slurm, cold, forked = (in_way(way) for way in (SLURM, Way("local", "none"), LOCAL))
    jobs = len(slurm.path)
    assert part(slurm, "queue") == 10 * jobs
    assert part(cold, "queue") == part(forked, "queue") == 0
    assert part(slurm, "start") == part(cold, "start")
    # imports take 20 - 3 - 5 s of a start, a fork 1
    assert part(cold, "start") - part(forked, "start") == pytest.approx(11 * jobs)
    assert num_starts(slurm.path) == num_starts(forked.path) == jobs + 1  # and vLLM


def test_ranks_on_several_nodes_start_by_themselves():
    assert not in_way(
        FORK, planned(stages={"policy": {"nodes": 2}}), "memory"
    ).case.states_in_memory
    two = planned(stages={"policy": {"nodes": 2}})
    found = in_way(FORK, two)
    assert found.stages["policy"].seconds.start == 20
    assert found.stages["prm"].seconds.start == 1 + 3 + 5
    assert not found.problems
    assert any("policy: 2 nodes, but" in problem for problem in in_way(LOCAL, two).problems)
    # Nor does an allocation keep copies of what two nodes have written.
    assert found.stages["policy"].seconds.read == in_way(SLURM, two).stages["policy"].seconds.read


def test_an_allocation_reads_the_newest_weights_from_memory_and_pays_for_the_copy():
    found, slurm = in_way(FORK), in_way(SLURM)
    ours, theirs = (one.stages["policy"].seconds for one in (found, slurm))
    weights = 2 * 7.615616512
    assert theirs.read - ours.read == pytest.approx(weights / 2)
    assert ours.write - theirs.write == pytest.approx(weights / 8 / 2)  # eight ranks
    text = page(found, [found], "7b", "here")
    assert "between stages, if there is room: 30 GB of copies of weights\n" in text
    assert "between stages, if" not in page(slurm, [slurm], "7b", "here")


def test_states_in_memory_reach_the_disk_beside_other_stages():
    found, usual = in_way(FORK, states="memory"), in_way(FORK)
    policy = found.stages["policy"].seconds
    assert policy.beside == pytest.approx(14 * 7.615616512 / 2)
    assert policy.write < 0.4 * usual.stages["policy"].seconds.write
    assert in_way(SLURM, states="memory").total == in_way(SLURM).total
    # A job for each model, and its iteration.
    assert found.total.num_jobs - usual.total.num_jobs == 2 * 592
    # The aim for the paper's run on eight A100, with the plan's own throughputs.
    assert found.total.iteration_seconds <= 500
    assert num_starts(found.path) <= 12
    lines = page(found, [found], "7b", "here").splitlines()
    assert any("30 GB of copies of weights, 213 GB of training states" in line for line in lines)
    assert any("training states reach the disk beside it, in 107 s" in line for line in lines)


def test_shards_of_an_evaluation_share_its_responses():
    def split(number: int) -> Plan:
        found = planned()
        benchmarks = {
            name: replace(work, num_shards=number)
            for name, work in found.case.work.benchmarks.items()
        }
        return plan(replace(found.case, work=replace(found.case.work, benchmarks=benchmarks)))

    whole, eight = split(1), split(8)
    assert eight.stages["evaluate"].jobs == 8 * whole.stages["evaluate"].jobs + 10  # ten join
    # However few responses, the longest takes its time, and each job starts an engine.
    one, other = (found.stages["evaluate"].seconds for found in (eight, whole))
    assert (one.engine, one.read) == (other.engine, other.read)
    assert one.compute < other.compute
    assert eight.total.num_jobs - whole.total.num_jobs == 38 * (7 * 10 + 10)


def test_states_that_no_node_has_room_for_go_to_disk_at_once():
    # 256 GB of the largest stage, 213 of states, 30 of copies
    for node_gb, fits in ((510, True), (490, False)):
        options = Options(assume=(f"node_gb={node_gb}",))
        found = in_way(FORK, planned(options=options), states="memory")
        assert found.case.states_in_memory == fits
        policy = found.stages["policy"].seconds
        assert (policy.beside > 0) == fits
        assert (policy == in_way(FORK).stages["policy"].seconds) == (not fits)
    site = Site.model_validate({"gpu": {"gpus_per_node": 8, "max_mem_mb": 400_000}})
    settings = parse_settings(load_yaml(PRIME), "test")
    assert make_case(settings, site, shape_of_size("7b"), Options()).assumed.node_gb == 400


def test_an_update_waits_for_states_that_a_slow_disk_still_writes():
    slow = in_way(FORK, planned(options=Options(disk_gb_per_s=0.1)), states="memory")
    waited = slow.path[-1].seconds
    copies = 2 * slow.stages["policy"].seconds.beside
    between = [step for step in slow.path if step.stage not in ("prm", "policy")]
    assert waited.starts == 0
    assert waited.total == pytest.approx(copies - sum(step.seconds.total for step in between))


def test_kept_engines_start_once_and_leave_the_gpu_between_turns():
    kept, forked = in_way(KEPT, states="memory"), in_way(FORK, states="memory")
    assert part(kept, "engine") == 0
    assert num_starts(kept.path) == 4  # verify twice, select, score
    # Weights, their float32 copy and moments of a rank, at 11 GB/s.
    held = 7.615616512 * (2 + 12 / 8)
    assert kept.stages["policy"].seconds.read == pytest.approx(held / 11)
    more = kept.stages["policy"].seconds.write - forked.stages["policy"].seconds.write
    assert more == pytest.approx(held / 2.45)
    assert kept.stages["evaluate"].seconds == forked.stages["evaluate"].seconds
    one, other = (in_way(way, small(), states="memory").total for way in (KEPT, FORK))
    assert one.iteration_seconds < 0.5 * other.iteration_seconds


def test_engines_that_rest_on_a_gpu_leave_less_of_it():
    assert not in_way(KEPT).problems
    tight = planned(rollout__gpu_memory_utilization=0.97)
    assert not in_way(FORK, tight).problems
    problems = in_way(KEPT, tight).problems
    # 0.97 of 79 GiB, and three contexts (of four where the stage has no kept engine itself)
    assert (
        "sample: beside the resting engines of prm, policy it needs 81.1 GiB per GPU, 79 GiB "
        "available: lower rollout.gpu_memory_utilization, or set resident to fork"
    ) in problems
    assert any("evaluate: beside the resting engines of sample, prm, policy" in p for p in problems)


def test_trainers_that_rest_need_a_nodes_memory():
    # Of each 2 bytes a number on every rank, and 12 in all: 213 GB, of two trainers.
    for node_gb, fits in ((430, True), (420, False)):
        options = Options(assume=(f"node_gb={node_gb}",))
        problems = in_way(KEPT, planned(options=options)).problems
        assert any("resting trainers of prm, policy keep 426 GB" in p for p in problems) != fits
    assert not in_way(FORK, planned(options=Options(assume=("node_gb=420",)))).problems


def test_the_quickest_that_fits_is_named():
    plans = plans_of(small().case)
    best = quickest(plans)
    assert best is not None
    assert best.total.hours <= 1.02 * min(one.total.hours for one in plans)
    slurm = next(one for one in plans if one.case.way == SLURM)
    assert much_quicker(slurm, plans) is best
    assert much_quicker(best, plans) is None
    unfit = [replace(one, problems=("too large",)) for one in plans]
    assert quickest(unfit) is None
    assert much_quicker(slurm, unfit) is None
    text = page(best, plans, "0.5b", "here")
    times = max(one.total.hours for one in plans) / best.total.hours
    assert f"quickest that fits: {best.case.way.name}, {times:.1f} times as quick" in text
    assert f"\n    {best.case.way.command('fork')}\n" in text
    assert "quickest that fits" not in page(unfit[0], unfit, "0.5b", "here")


def test_every_way_has_a_row_with_its_command():
    names = {way.name for way in all_ways()}
    assert {"slurm", *(f"{place}, {how}" for place in PLACES[:2] for how in RESIDENT)} == names
    assert way_of("slurm", Settings()) == SLURM
    assert way_of("local", Settings(resident="none")) == Way("local", "none")
    assert SLURM.command("fork") == "prime launch --profile slurm"
    assert LOCAL.command("fork") == "snakemake"
    other = Way("allocation", "none").command("fork")
    assert other == "prime launch --profile allocation --config resident=none"


@pytest.mark.parametrize("place", PLACES)
def test_the_page_is_of_the_way_that_was_asked_for(place, capsys):
    words = ["plan", "--configfile", str(PRIME), "--way", place, "--json"]
    with pytest.raises(SystemExit):
        main(words)
    found = json.loads(capsys.readouterr().out)
    assert found["way"]["place"] == place
    rows = {(row["place"], row["resident"]): row for row in found["ways"]}
    own = rows[place, found["way"]["resident"]]
    assert own["iteration_seconds"] == found["iteration_seconds"]
    assert own["starts"] == sum(step["starts"] for step in found["critical_path"])
    for step in found["critical_path"]:
        parts = step["seconds"]
        assert parts.pop("total") == pytest.approx(sum(parts.values()))


def test_verdicts_take_what_their_kind_takes():
    def verdicts(found: Plan, stage: str) -> float:
        cores = found.case.machines[stage].cpus_per_task
        work = found.case.work.first_responses / found.case.settings.rollout.num_shards
        return 1000 * cores * found.stages[stage].seconds.compute / work

    assert verdicts(small(), "verify") == pytest.approx(0.02)  # GSM8K: mathematics alone
    # The paper's data have programs, six in a hundred.
    assert verdicts(planned(), "verify") == pytest.approx(0.94 * 0.02 + 0.06 * 4)
    programs = planned(options=Options(assume=("code_verdict_ms=1000",)))
    benchmarks = programs.case.work.benchmarks
    assert benchmarks["leetcode"].code_share == 1
    assert benchmarks["math-500"].code_share == 0
    assert (
        programs.stages["evaluate"].seconds.compute > planned().stages["evaluate"].seconds.compute
    )


def test_the_forms_of_programs_are_those_that_a_program_judges():
    for form, how in FORMS.items():
        assert Benchmark(file="table.parquet", form=form).usual_ability == how.ability
    assert Benchmark(file="table.parquet").usual_ability == "math"
    assert Benchmark(file="table.parquet", ability="code").usual_ability == "code"
