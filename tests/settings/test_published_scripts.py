"""The paper's and verl's files hold what the published scripts make of their own numbers."""

import re

import pytest
import torch

from prime_core.policy_loss import LOSS_AGGREGATIONS
from prime_core.settings.reading import load_settings
from prime_core.verifiers.math import judge
from prime_core.verifiers.verdict import Verdict
from tests.settings.test_paper_configs import CONFIGS, GSM8K, leaves, name_of
from tests.support.paper_variants import MAIN
from tests.support.published_scripts import (
    ON_PURPOSE,
    PAPER,
    PRIME,
    VERL,
    aggregation,
    as_settings,
    table,
)
from tests.support.shared_data import ROOT

DOCUMENT = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
SCRIPTS = [("prime", MAIN, PRIME), ("verl", GSM8K, VERL)]
# Where a value comes from: each comment says one of these.
SOURCE = re.compile(r"\b(paper|script|verl|assumption|not used|model's card)", re.IGNORECASE)
# What no published run has: names and places of ours, and how work is cut, which changes no result.
OURS = re.compile(
    r"(run|results|init_from|max_gpu_hours|stage_resources|resident|reproduction\..*"
    r"|rollout\.num_shards|rollout\.sampler_batch_size|training\..*|checkpoints\.keep_last"
    r"|data\.source|data\.(sft_)?columns.*|data\.ground_truth_after|data\.contamination\.files"
    r"|.*\.micro_batch_size|evaluation\.benchmarks.*)"
)


@pytest.mark.parametrize(("name", "path", "script"), SCRIPTS, ids=["prime", "verl"])
def test_a_file_has_the_values_that_the_script_makes_of_its_own(name, path, script):
    ours = leaves(load_settings(path).model_dump(mode="json"))
    differing = {key for key, value in as_settings(script).items() if ours[key] != value}
    assert differing == ON_PURPOSE[name]
    for key in differing:
        assert f"`{key}`" in DOCUMENT, key


def test_the_main_run_has_the_papers_values_where_the_script_agrees_with_it():
    ours, script = leaves(load_settings(MAIN).model_dump(mode="json")), as_settings(PRIME)
    # The published numbers are the script's: Eq. 5's baseline and all tests are the paper's text.
    assert {key for key in PAPER if script[key] != PAPER[key]} == {
        *("policy.baseline", "verification.partial_credit")
    }
    assert all(ours[key] == PAPER[key] for key in PAPER if script[key] == PAPER[key])


def test_the_documentations_table_is_todays():
    ours = [leaves(load_settings(path).model_dump(mode="json")) for path in (MAIN, GSM8K)]
    assert table(*ours) in DOCUMENT


def test_means_within_passes_of_one_response_weigh_responses_alike():
    generator = torch.Generator().manual_seed(0)
    losses = torch.randn(8, 12, generator=generator, dtype=torch.float64)
    lengths = torch.randint(1, 13, (8,), generator=generator)
    mask = torch.arange(12) < lengths[:, None]
    # dp_actor.py: a masked mean of each pass, divided by gradient_accumulation.
    passes = [losses[i][mask[i]].mean() / 8 for i in range(8)]
    counts = {"num_tokens": int(mask.sum()), "num_sequences": 8, "max_response_length": 12}
    ours = {name: float(f(losses, mask, **counts)) for name, f in LOSS_AGGREGATIONS.items()}
    assert ours[aggregation(1)] == pytest.approx(float(sum(passes)), rel=1e-12)
    assert abs(ours["token-mean"] - float(sum(passes))) > 1e-3


def test_a_pass_of_several_responses_is_not_called_one_of_our_means():
    with pytest.raises(ValueError, match="passes of 4 responses"):
        as_settings(PRIME | {"actor.ppo_micro_batch_size": 32})


@pytest.mark.parametrize("text", ["Adding up, the answer is 5", "Hence x = 5", "so \\boxed{5}"])
def test_an_answer_without_a_box_is_judged_as_by_the_script(text):
    # Its match_answer takes what stands behind the last "answer is", "is" or "=".
    no_box = load_settings(MAIN).verification.no_box
    assert judge(text, "5", no_box=no_box).verdict is Verdict.correct
    assert judge(text, "6", no_box=no_box).verdict is Verdict.wrong


@pytest.mark.parametrize("path", [*CONFIGS, GSM8K], ids=name_of)
def test_each_values_comment_says_where_it_comes_from(path):
    unsourced = [
        key
        for key, words in comments_of(path.read_text(encoding="utf-8").splitlines()).items()
        if not OURS.fullmatch(key) and not SOURCE.search(words)
    ]
    learned = ("rollout.", "filter.", "prm.", "policy.", "value.")  # GSM8K's file is not complete
    of_verl = [key for key in unsourced if key.startswith(learned)]
    assert (of_verl if path == GSM8K else unsourced) == []


def comments_of(lines: list[str]) -> dict[str, str]:
    """Dotted key -> the comments above and beside it and beside its sections."""
    found: dict[str, str] = {}
    sections: list[tuple[int, str, str]] = []
    above = ""
    for line in lines:
        if line.lstrip().startswith("#"):
            above += line
            continue
        if match := re.match(r"((?:  )*)([A-Za-z0-9_-]+):(.*)", line):
            depth, key, rest = len(match[1]), match[2], match[3]
            sections = [section for section in sections if section[0] < depth]
            value, _, comment = rest.partition("  #")
            dotted = ".".join([*(name for _, name, _ in sections), key])
            words = " ".join([*(said for _, _, said in sections), above, comment])
            if value.strip():
                found[dotted] = words
            sections.append((depth, key, above + comment))
        above = ""
    return found
