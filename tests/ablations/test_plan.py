"""The ablations' settings and plan: which runs there are, what each waits for, what is refused."""

from pathlib import Path

import pytest

from prime_core.ablations.plan import (
    Ablations,
    Plan,
    dump_ablations,
    load_ablations,
    parse_ablations,
)
from prime_core.ablations.workflow import Workflow
from prime_core.cli.main import main
from prime_core.launch.arguments import asks_for_ablations
from prime_core.settings.reading import SettingsError, load_settings, load_yaml
from tests.support.made_up_ablations import SETTINGS, plan
from tests.support.shared_data import ROOT

FILES = sorted((ROOT / "configs" / "ablations").glob("*.yaml"))
THE_PAPERS = ROOT / "configs" / "ablations" / "ablations.yaml"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_of_ablations_gives_runs_whose_settings_are_right(path):
    of_file = Plan(load_ablations(path), ROOT)
    assert len(of_file.runs) == len(of_file.ablations.seeds) * (1 + len(of_file.ablations.variants))


def test_the_papers_comparisons_are_all_there():
    """Each pair of the published ablations, by the settings in which its two runs differ."""
    of_file = Plan(load_ablations(THE_PAPERS), ROOT)

    def differing(pair):
        first, second = (
            of_file.runs[f"{variant}-seed0"].settings.model_dump(mode="json")
            for variant in (pair.first, pair.second)
        )
        return {
            (section, key)
            for section in ("prm", "policy", "rollout")
            for key in first[section]
            if first[section][key] != second[section][key]
        }

    assert {name: differing(pair) for name, pair in of_file.ablations.comparisons.items()} == {
        **{
            f"prime-{name}": {("prm", "prm_update")}
            for name in ("rloo", "grpo", "reinforce", "ppo")
        },
        "online-frozen": {("prm", "prm_update"), ("prm", "offline")},
        "after-before": {("prm", "prm_update")},
        "sft-policy": {("prm", "prm_reference")},
        "ce-dpo": {("prm", "loss_type")},
        "token-whole": {("prm", "prime_granularity")},
        "fresh-stale": {("rollout", "max_staleness"), ("policy", "tis_clip")},
        "rloo-grpo": {("policy", "adv_estimator")},
        "reward-value": {("policy", "adv_estimator"), ("prm", "prm_update")},
    }


def test_runs_of_a_seed_share_all_but_what_the_variant_names(tmp_path):
    runs = plan(tmp_path).runs
    one, other = runs["one-seed3"].settings, runs["other-seed3"].settings
    same = {"run", "prm"}
    assert one.model_dump(exclude=same) == other.model_dump(exclude=same)
    assert one.init_from == "base-seed3@0"
    assert (one.prm.beta, other.prm.beta) == (0.05, 0.1)
    assert runs["base-seed3"].settings.iterations == 0
    assert runs["base-seed3"].settings.init_from is None


def test_a_run_waits_for_its_base_and_for_the_responses_that_its_prm_learns_from(tmp_path):
    made = plan(tmp_path)
    base = made.runs["base-seed0"].marker
    file = f"{tmp_path}/results/labelled/one-seed0.1-2.parquet"
    assert made.needed("base-seed0") == []
    assert made.needed("one-seed0") == [base]
    assert made.needed("taught-seed0") == [base, file]
    offline = made.runs["taught-seed0"].settings.prm.offline
    assert offline is not None
    assert offline.file == file


def test_a_changed_setting_changes_the_markers_of_its_runs_alone(tmp_path):
    before = plan(tmp_path)
    changed = plan(tmp_path, **{"variants.other.settings": {"prm.beta": 0.2}})
    moved = {name for name, run in changed.runs.items() if run.marker != before.runs[name].marker}
    assert moved == {"other-seed0", "other-seed3"}
    assert changed.digest != before.digest


def test_how_many_run_at_once_changes_no_result(tmp_path):
    one, many = plan(tmp_path, at_once=1), plan(tmp_path, at_once=7)
    assert one.markers == many.markers
    assert one.digest == many.digest


def test_settings_survive_being_written_down(tmp_path):
    made = plan(tmp_path)
    path = tmp_path / "ablations.yaml"
    path.write_text(dump_ablations(made.ablations))
    assert load_ablations(path) == made.ablations
    for name, run in made.runs.items():
        path.write_text(run.text)
        assert load_settings(path) == run.settings, name


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seeds": [0, 0]}, "seeds [0, 0]: each may occur only once"),
        ({"seeds": []}, "seeds: "),
        ({"comparisons.pair.first": "nobody"}, "comparisons.pair: there is no variant 'nobody'"),
        ({"comparisons.pair.finding": "better"}, "comparisons.pair.finding: "),
        ({"comparisons.pair.second": None}, "second null is the outcome's line of measure f1"),
        ({"variants.base": {"title": "x"}}, "variants: 'base' is the run that the others"),
        ({"variants.taught.labelled.variant": "taught"}, "no other variant 'taught'"),
        ({"variants.one.title": None}, "variants.one.title: "),
        ({"seed": 1}, "seed: "),
    ],
)
def test_wrong_settings_are_refused_with_the_key(change, sentence, tmp_path):
    with pytest.raises(SettingsError) as caught:
        plan(tmp_path, **change)
    assert str(caught.value).startswith("file.yaml: ")
    assert sentence in str(caught.value)


def test_a_variants_wrong_setting_is_refused_with_its_run_and_key(tmp_path):
    with pytest.raises(SettingsError) as caught:
        plan(tmp_path, **{"variants.one.settings": {"prm.beta": -1}})
    assert "ablations, one-seed0: prm.beta: " in str(caught.value)


def test_responses_of_a_variant_that_needs_some_itself_are_refused(tmp_path):
    again = {"title": "x", "labelled": {"variant": "taught"}}
    with pytest.raises(SettingsError, match="'taught' needs labelled responses itself"):
        plan(tmp_path, **{"variants.again": again})


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("ablations", True),
        ("-n ablations --cores 2", True),
        ("--profile local ablations --config seeds=[1]", True),
        ("", False),
        ("all", False),
        ("--config run=ablations", False),
        ("--directory ablations", False),
        ("--configfile ablations", False),
    ],
)
def test_snakemakes_own_reading_of_its_arguments_decides(words, asked, monkeypatch):
    monkeypatch.chdir(ROOT / "cluster_profiles")  # where `local` is a profile
    assert asks_for_ablations(words.split()) is asked


@pytest.mark.parametrize(
    ("words", "at_once", "cores"),
    [("--cores 2", None, 1), ("--cores 8", 3, 3), ("--cores 8", 1, 8), ("-c 2", 9, 1)],
)
def test_runs_share_the_cores(words, at_once, cores, tmp_path):
    made = plan(tmp_path, at_once=at_once)
    workflow = Workflow(made, Path("/there/Snakefile"), ["ablations", *words.split()])
    assert workflow.cores == cores
    assert workflow.options == f"--snakefile /there/Snakefile --cores {cores}"


def test_on_a_cluster_each_run_submits_its_own_stages(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = ["ablations", "--profile", "slurm", "--local-cores", "8"]
    workflow = Workflow(plan(tmp_path), ROOT / "Snakefile", words)
    assert workflow.on_cluster
    assert workflow.cores == 2  # of eight: four controllers at once
    # Of the profile's 100 jobs a quarter each: no run fills the queue alone.
    assert workflow.options == f"--snakefile {ROOT}/Snakefile --profile {ROOT}/slurm --jobs 25"
    three = Workflow(plan(tmp_path, at_once=3), ROOT / "Snakefile", [*words, "--jobs", "2"])
    assert three.options.endswith("--jobs 1")


def test_other_targets_beside_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="leave out all"):
        Workflow(plan(tmp_path), Path("Snakefile"), ["ablations", "all"])


def test_the_start_writes_the_settings_of_every_run_and_takes_old_ones_away(tmp_path):
    made = plan(tmp_path)
    folder = tmp_path / "results" / "settings"
    folder.mkdir(parents=True)
    (folder / "left-seed0.yaml").write_text("run: left-seed0")
    workflow = Workflow(made, Path("Snakefile"), ["ablations"])
    workflow.begin()
    assert {path.stem for path in folder.glob("*.yaml")} == set(made.runs)
    written = load_settings(folder / "other-seed3.yaml")
    assert written == made.runs["other-seed3"].settings
    assert Ablations.model_validate(load_yaml(made.resolved)) == made.ablations


def test_dotted_overrides_reach_into_the_file():
    ablations = parse_ablations({**SETTINGS, "settings.iterations": 9}, "x")
    assert ablations.settings["iterations"] == 9


@pytest.mark.parametrize(
    ("command", "parameters"),
    [
        ("ablation", {"settings", "out", "options"}),
        ("labelled", {"run_dir", "iterations", "out"}),
        ("ablations-report", {"results", "settings"}),
    ],
)
def test_the_commands_of_the_rules_exist(command, parameters):
    assert {parameter.name for parameter in main.commands[command].params} == parameters
