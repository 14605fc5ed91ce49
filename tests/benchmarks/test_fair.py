"""Methods at their best: the same trials for all, chosen by rule, compared on other seeds."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.fair import __main__ as fair_command
from benchmarks.fair.__main__ import Comparing
from benchmarks.fair.plan import FILE, Fair, load_fair
from benchmarks.fair.table import curves_table, differences_table
from prime_core.ablations.plan import Plan, Run
from prime_core.ablations.results import CURVE_COLUMNS, Results
from prime_core.data.arithmetic import chain
from prime_core.run.atomic import write_json, write_text
from prime_core.run.layout import RunFiles
from prime_core.settings.reading import SettingsError, checked, load_settings, load_yaml
from tests.support.shared_data import ROOT

FAIR = load_fair()


@pytest.mark.parametrize("task", FAIR.tasks)
def test_every_method_has_the_same_trials_and_its_own_settings(task):
    runs = Plan(FAIR.screened(task, list(FAIR.methods)), ROOT).runs
    settings = {
        method: {trial: runs[f"{method}-{trial}-seed100"].settings for trial in FAIR.trials}
        for method in FAIR.methods
    }
    for trial in FAIR.trials:
        policies = [settings[method][trial].policy for method in FAIR.methods]
        assert all(policy == policies[0] for policy in policies)
    assert len({str(one.policy) for one in settings["prime"].values()}) == len(FAIR.trials)
    for method, has_prm in (("prime", True), ("rloo", False), ("trl", False)):
        updates = {one.prm.prm_update for one in settings[method].values()}
        assert updates == ({"after"} if has_prm else {"none"})


@pytest.mark.parametrize("task", FAIR.tasks)
def test_the_longest_response_fits(task):
    chosen = dict.fromkeys(FAIR.methods, "mean-5e-5")
    run = Plan(FAIR.at_best(task, chosen), ROOT).runs["prime-seed0"].settings
    task_settings, longest = run.data.arithmetic, run.rollout.max_response_length
    terms = (task_settings.max_number,) * task_settings.max_terms
    assert len(chain(terms)) < longest  # and the end token
    assert run.data.max_prompt_length + longest <= run.model.build.max_position
    assert run.evaluation.benchmarks["validation"].max_response_length == longest


def test_trials_of_trl_are_known_as_such():
    known = {name: FAIR.trainer_of(name) for name in ("trl", "trl-sum-5e-5", "prime", "base")}
    assert known == {"trl": "trl", "trl-sum-5e-5": "trl", "prime": "workflow", "base": "workflow"}


def results_of(ablations, shares):
    """Results in which all seeds of a variant have these accuracies at iterations 0, 2 and 6."""
    rows = [
        {"variant": variant, "seed": seed, "iteration": iteration, "accuracy": share}
        for variant, of_variant in shares.items()
        for seed in ablations.seeds
        for iteration, share in zip((0, 2, 6), of_variant, strict=True)
    ]
    curves = pd.DataFrame(rows, columns=list(CURVE_COLUMNS))
    return Results(ablations, curves, dict.fromkeys(shares, 6), {})


def test_the_trial_with_the_highest_mean_is_chosen_and_the_first_of_equal_ones():
    ablations = FAIR.screened("quickstart", ["prime", "rloo"])
    shares = {f"{m}-{t}": (0.4, 0.5, 0.6) for m in ("prime", "rloo") for t in FAIR.trials}
    shares["prime-sum-1e-4"] = (0.4, 0.7, 0.5)  # the better mean, the lower end
    results = results_of(ablations, shares)
    chosen = FAIR.best(results, ["prime", "rloo"])
    assert chosen == {"prime": "sum-1e-4", "rloo": "mean-5e-5"}
    del shares["rloo-sum-2e-4"]
    with pytest.raises(ValueError, match="rloo-sum-2e-4 has not run with all seeds"):
        FAIR.best(results_of(ablations, shares), ["prime", "rloo"])


def test_seeds_of_the_screening_are_not_used_again():
    raw = load_yaml(FILE)
    raw["screening"]["seeds"] = [3, 100]
    with pytest.raises(SettingsError, match=r"screening.seeds \[3\]: used again"):
        checked(Fair, raw, "file")


def test_the_tables_have_means_intervals_and_readings():
    ablations = FAIR.at_best("quickstart", {"prime": "mean-5e-5", "rloo": "sum-1e-4"})
    results = results_of(ablations, {"prime": (0.4, 0.6, 0.8), "rloo": (0.4, 0.5, 0.7)})
    curves, differences = ("\n".join(table(results)) for table in (curves_table, differences_table))
    assert "| iteration | 0 | 2 | 6 | mean after 0 | seeds |" in curves
    assert "| PRIME (mean-5e-5) | 40.0 ± 0.0 | 60.0 ± 0.0 | 80.0 ± 0.0 | 70.0 | 5 |" in curves
    assert "| Process rewards, RLOO | 5 | +10.0 [10.0, 10.0] | +10.0 [10.0, 10.0] | yes |" in (
        differences
    )
    assert "TRL" not in differences


@pytest.fixture
def started(monkeypatch):
    """Names of started runs, which only write accuracies: those of the last trial are the best."""
    names: list[str] = []
    places = {trial: place for place, trial in enumerate(FAIR.trials)}

    def pretend(run):
        names.append(run.name)
        files, settings = RunFiles(run.settings.run_dir), run.settings
        write_text(files.config, f"iterations: {settings.iterations}\n")
        place = next((place for trial, place in places.items() if trial in run.name), 0)
        for iteration in (0, settings.iterations):
            write_json(files.evaluation(iteration, "validation"), {"accuracy": 0.5 + place / 100})
        write_json(Path(run.marker), {"seconds": 1})

    def of_workflow(command, _log):
        file = Path(command[command.index("ablation") + 1])
        run = Run(file.stem, 0, {}, load_settings(file))
        pretend(run)
        return 0

    monkeypatch.setattr(fair_command, "status_of", of_workflow)
    monkeypatch.setattr(fair_command, "run_trl", lambda run, *_unused: pretend(run))
    monkeypatch.setattr(fair_command, "trl_python", lambda folder: folder)
    monkeypatch.setattr(fair_command.report, "run", lambda *_unused: None)
    return names


def test_each_method_goes_on_with_its_best_trial_and_nothing_runs_twice(started, tmp_path):
    fair = FAIR.model_copy(update={"results": str(tmp_path / "fair"), "seeds": (0, 1)})

    def compare(*trainers):
        started.clear()
        results = Comparing(fair, 1, tmp_path / "peers").compare("slips", trainers)
        return results.ablations.variants, list(started)

    variants, names = compare("workflow")
    assert {name: one.title for name, one in variants.items()} == {
        "prime": "PRIME (sum-2e-4)",
        "rloo": "RLOO, outcome rewards only (sum-2e-4)",
    }
    assert len(names) == 1 + 2 * len(FAIR.trials) + 2 * (1 + 2)
    assert names[-6:] == [f"{one}-seed{n}" for n in (0, 1) for one in ("base", "prime", "rloo")]
    variants, names = compare("workflow", "trl")
    assert list(variants) == ["prime", "rloo", "trl"]
    assert names == [*(f"trl-{trial}-seed100" for trial in FAIR.trials), "trl-seed0", "trl-seed1"]
    assert compare("workflow", "trl")[1] == []
