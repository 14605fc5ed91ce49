"""The model card: figures with their intervals, data, licences, and never more than is known."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from prime_core.evaluation.statistics.paired import compare_paired
from prime_core.export import facts
from prime_core.export.card import card_text
from prime_core.export.chosen import Chosen, choose
from prime_core.report.tables.evaluations import problem_means
from prime_core.run.atomic import write_json
from prime_core.run.layout import RunFiles
from prime_core.run.tables import EVALUATION, read_json, read_table
from prime_core.settings.reading import parse_settings
from tests.support.exported_run import change_settings, make_run_with_weights


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    return make_run_with_weights(tmp_path_factory.mktemp("results") / "made-up")


@pytest.fixture
def own_run(tmp_path):
    """A run that a test may change, with the smallest of weights."""
    return make_run_with_weights(tmp_path / "made-up", kept=(4,))


def card(run: Path, iteration: int = 4, kind: str = "policy", licence: str | None = None) -> str:
    return card_text(chosen_of(run, iteration, kind), "made-up-4", False, licence)


def front(text: str) -> Any:
    """The front matter, as the hub's library reads it."""
    return ModelCard(text).data


def chosen_of(run: Path, iteration: int = 4, kind: str = "policy") -> Chosen:
    return choose(f"{run}@{iteration}", kind)  # type: ignore[arg-type]


def test_the_hubs_library_reads_the_front_matter(run_dir):
    data = front(card(run_dir, licence="apache-2.0"))
    figures = read_json(RunFiles(run_dir).evaluation(4, "validation"))
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-generation")
    assert (data.license, data.base_model, data.datasets) == ("apache-2.0", None, None)
    assert data.model_name == "made-up, iteration 4"
    (result,) = data.eval_results
    assert (result.dataset_name, result.metric_type) == ("validation", "accuracy")
    assert result.metric_value == round(figures["accuracy"], 4)
    low, high = (round(figures[f"accuracy_{end}"], 4) for end in ("low", "high"))
    assert result.metric_args == {"interval_95": [low, high], "num_problems": 200}
    assert result.metric_name == "accuracy, avg@4 at temperature 1"


def test_accuracies_stand_before_and_after_with_a_paired_change(run_dir):
    files, text = RunFiles(run_dir), card(run_dir)
    before, after = (read_json(files.evaluation(number, "validation")) for number in (0, 4))
    means = [
        problem_means(
            read_table(files.evaluation(number, "validation").with_suffix(".parquet"), EVALUATION)
        )
        for number in (4, 0)
    ]
    change = compare_paired(*means)
    cells = [
        f"{100 * figures['accuracy']:.1f} [{100 * figures['accuracy_low']:.1f}, "
        f"{100 * figures['accuracy_high']:.1f}]"
        for figures in (before, after)
    ]
    points = f"{100 * change.difference:+.1f} [{100 * change.low:+.1f}, {100 * change.high:+.1f}]"
    assert f"| validation | 200 | 4 | 1 | {cells[0]} | **{cells[1]}** | {points} |" in text
    assert "Before: iteration 0." in text


def test_without_judged_responses_the_change_is_unknown(own_run):
    RunFiles(own_run).evaluation(0, "validation").with_suffix(".parquet").unlink()
    assert "| unknown |" in card(own_run)


def test_an_iteration_that_was_not_evaluated_has_no_accuracies(run_dir):
    text = card(run_dir, 3)
    assert "The run was not evaluated at iteration 3. It was at 0, 4." in text
    assert "The run has finished; its last iteration is 4." in text
    assert "model-index" not in text
    assert "| benchmark |" not in text


def test_a_finished_run_says_nothing_of_being_unfinished(run_dir):
    assert "not finished" not in card(run_dir)


def test_what_nobody_has_recorded_is_unknown(own_run):
    RunFiles(own_run).provenance.unlink()
    text = card(own_run)
    assert "commit of PRIME on Slurm: unknown" in text
    assert "versions: unknown" in text
    assert "Licence of these weights: not stated by whoever exported them." in text
    assert front(text).license is None
    assert "Trained from random weights: there is no base model." in text


def test_base_model_and_data_of_the_hub_are_linked_and_their_licences_unknown(own_run):
    change_settings(own_run, FROM_THE_HUB)
    text = card(own_run)
    data = front(text)
    assert (data.base_model, data.datasets) == ("lab/base", ["lab/demonstrations", "lab/problems"])
    assert "[lab/base](https://huggingface.co/lab/base); licence: unknown" in text
    assert "[lab/problems](https://huggingface.co/datasets/lab/problems); licence: unknown" in text
    assert "`own.jsonl`; licence: unknown" in text
    assert "lab/test" not in str(data.datasets)  # held out: nothing was trained on it


FROM_THE_HUB = {
    "model": {"path": "lab/base"},
    "data": {
        "source": "files",
        "train": "lab/problems",
        "validation": "lab/test",
        "sft": "hf://datasets/lab/demonstrations@main/train-*.parquet",
        "sources": {"own": {"file": "/home/somebody/secret/own.jsonl", "ability": "math"}},
    },
}


def test_a_local_base_models_card_tells_its_licence(own_run, tmp_path):
    base = tmp_path / "private" / "base"
    base.mkdir(parents=True)
    change_settings(own_run, {"model": {"path": str(base)}})
    assert "Base model: `base`; licence: unknown" in card(own_run)
    (base / "README.md").write_text("---\nlicense: mit\n---\n# A model\n")
    text = card(own_run)
    assert "Base model: `base`; licence: mit." in text
    assert front(text).license is None  # that of these weights is for people to say
    (base / "README.md").write_text("# A model without front matter\n")
    assert "licence: unknown" in card(own_run)


def test_no_folder_of_this_machine_is_shown(own_run, tmp_path):
    change_settings(own_run, FROM_THE_HUB | {"results": str(tmp_path)})
    text = card(own_run)
    assert str(tmp_path) not in text
    assert "/home/somebody" not in text
    assert "own.jsonl" in text


def test_the_settings_are_those_of_a_run_again(run_dir):
    _, _, rest = card(run_dir).partition("```yaml\n")
    made = parse_settings(yaml.safe_load(rest.partition("```")[0]), "the card")
    own = chosen_of(run_dir).settings
    assert made == own.model_copy(update={"results": made.results})


def test_the_prms_ranking_is_that_of_responses_it_was_not_trained_on(run_dir):
    files = RunFiles(run_dir)
    found = facts.ranking(chosen_of(run_dir, 3, "prm"))
    assert found is not None
    # The PRM after iteration 3 scores iteration 4, before its own update.
    assert found == (4, read_json(files.metrics(4, "score")))
    text = card(run_dir, 3, "prm")
    share = 100 * found[1]["prm/ranking_accuracy"]
    assert "On the responses of iteration 4, which it was not trained on before" in text
    assert f"in {share:.1f} % of 40 pairs" in text
    assert "The run has not scored responses with it." in card(run_dir, 4, "prm")
    assert front(text).eval_results is None
    assert "Held-out accuracy" not in text


def test_a_prm_relative_to_another_model_says_to_which(own_run):
    change_settings(own_run, {"prm": {"prm_reference": "policy"}})
    assert "The reference is the policy that sampled the response." in card(own_run, 4, "prm")
    change_settings(own_run, {"prm": {"prm_reference": "sft", "reference_path": "/a/b/other"}})
    assert "The reference is `other` (prm.reference_path)." in card(own_run, 4, "prm")


def test_uncommitted_changes_and_the_commit_are_told(own_run):
    start = {"git_commit": "a" * 40, "git_dirty": True, "versions": {"torch": "2.13.0"}}
    write_json(RunFiles(own_run).provenance, {"starts": [{"git_commit": "b" * 40}, start]})
    text = card(own_run)
    assert f"`{'a' * 40}` with uncommitted changes" in text
    assert "versions: torch 2.13.0" in text
    assert "2502.01456" in text[text.index("## Citation") :]
