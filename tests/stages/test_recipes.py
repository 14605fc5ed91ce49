"""What a docstring says of adding an estimator, a loss, a sampler, a form is enough to run it."""

from typing import Any

import pytest

from prime_core.run.atomic import write_text
from prime_core.run.layout import RunFiles
from prime_core.run.tables import DROPPED, PROMPTS, ROLLOUTS, read_json, read_table, write_table
from prime_core.settings.reading import dump_settings, load_settings, parse_settings
from prime_core.settings.run import Settings
from prime_core.training.learning_batch import read_batch
from tests.data.test_problems import write
from tests.support.made_up_batch import made_up_batch
from tests.support.recipes import Addition, PackageCopy
from tests.support.tiny_model import save_tiny_model

FROM_OUTCOMES: dict[str, Any] = {"prm.prm_update": "none", "policy.whiten": False}
HALVES = Addition(
    "halves",
    '''def halves(
    rewards: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    group: Int[Tensor, " B"],
    baseline: str,
) -> Float[Tensor, "B T"]:
    """Half of each token reward, compared with nothing."""
    return rewards / 2
''',
    "halves",
)
NOTHING = Addition(
    "nothing",
    '''def nothing(
    losses: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    num_tokens: int,
    num_sequences: int,
    max_response_length: int,
) -> Float[Tensor, ""]:
    """No token counts."""
    return 0 * masked_sum(losses, mask)
''',
    "nothing",
)
ECHO = Addition(
    "echo",
    '''"""Every response is its prompt."""

from prime_core.samplers.request import Sampled


def sample(model_path, dtype, requests, params, engine, progress, finished):
    """The prompt's tokens, each as likely as not."""
    progress(len(requests))
    return [
        Sampled(request.prompt_tokens, [-0.5] * len(request.prompt_tokens), "stop")
        for request in requests
    ]
''',
    'Sampler("prime_core.samplers.echo")',
)
RIDDLES = Addition(
    "riddles",
    '''def riddles(row: Fields) -> Row:
    """A riddle and its solution."""
    return {
        "prompt_id": row.text("name"),
        "prompt": row.text("riddle"),
        "ground_truth": {"answer": row.text("solution")},
    }
''',
    'Form(riddles, "math", ("riddle", "solution"))',
)


@pytest.fixture
def package(tmp_path):
    return PackageCopy(tmp_path / "package")


def run_with(files: RunFiles, settings: Settings, key: str, value: str, other: str) -> None:
    """Write the run's settings with another value of a key, one that only the copy knows."""
    text = dump_settings(settings)
    assert text.count(f"{key}: {value}\n") == 1
    write_text(files.config, text.replace(f"{key}: {value}\n", f"{key}: {other}\n"))


def test_an_estimator_is_added_as_the_docstring_says(package, tmp_path):
    package.follow("prime_core/advantage.py", HALVES)
    files = made_up_batch(tmp_path, **FROM_OUTCOMES)
    run_with(files, load_settings(files.config), "adv_estimator", "rloo", "halves")
    package.prime("policy", "--run", str(files.root), "--iteration", "1")
    batch = read_batch(files, 1)
    expected = float((batch.outcome[:, None] * batch.mask).sum() / batch.mask.sum()) / 2
    assert read_json(files.metrics(1, "policy"))["return/mean"] == pytest.approx(expected)


def test_a_sum_of_losses_is_added_as_the_docstring_says(package, tmp_path):
    package.follow("prime_core/policy_loss.py", NOTHING)
    files = made_up_batch(tmp_path, **FROM_OUTCOMES)
    run_with(files, load_settings(files.config), "loss_agg_mode", "token-mean", "nothing")
    package.prime("policy", "--run", str(files.root), "--iteration", "1")
    figures = read_json(files.metrics(1, "policy"))
    assert figures["actor/grad_norm"] == 0
    assert figures["actor/pg_loss"] != 0  # of the tokens, before they are summed


def test_a_sampler_is_added_as_the_docstring_says(package, tmp_path):
    package.follow("prime_core/samplers/__init__.py", ECHO)
    settings = parse_settings(
        {
            "results": str(tmp_path),
            "data.max_prompt_length": 40,
            "rollout": {"rollout_batch_size": 2, "n_samples_per_prompt": 2, "num_shards": 1},
        },
        "test",
    )
    files = RunFiles(settings.run_dir)
    run_with(files, settings, "sampler", "auto", "echo")
    problem = {"ability": "math", "ground_truth": "2", "data_source": "test"}
    asked = [{"role": "user", "content": "1+1=?"}]
    rows = [{"prompt_id": name, "prompt": asked, **problem} for name in ("a", "b")]
    write_table(files.train, rows, PROMPTS)
    save_tiny_model(files.policy(0))
    line = package.prime("sample", "--run", str(files.root), "--iteration", "1", "--shard", "0")
    assert "4 responses to 2 prompts by echo" in line
    sampled = read_table(files.rollouts(1, 0), ROLLOUTS)
    assert [row.tolist() for row in sampled["response_tokens"]] == [
        row.tolist() for row in sampled["prompt_tokens"]
    ]
    assert read_json(files.sampler(1)) == {"sampler": "echo"}


def test_a_form_of_benchmarks_is_added_as_the_docstring_says(package, tmp_path):
    package.follow("prime_core/data/forms.py", RIDDLES)
    riddle = "What has keys and opens no door?"
    problems = [{"prompt": text, "ground_truth": "x"} for text in (riddle, "1+1=?", "1+2=?")]
    published = {"name": "r1", "riddle": riddle, "solution": "a piano"}
    settings = parse_settings(
        {
            "results": str(tmp_path),
            "sft.enabled": False,
            "data": {
                "source": "files",
                "train": str(write(tmp_path / "train.jsonl", problems)),
                "num_validation": 1,
            },
            "evaluation.benchmarks": {
                "riddles": {"file": str(write(tmp_path / "riddles.jsonl", [published]))}
            },
        },
        "test",
    )
    files = RunFiles(settings.run_dir)
    run_with(files, settings, "form", "plain", "riddles")
    save_tiny_model(files.base_model)
    package.prime("prepare", "--run", str(files.root))
    dropped = read_table(files.dropped, DROPPED)
    assert list(dropped["reason"]) == ["in_benchmark"]
    assert dropped["detail"][0].startswith("riddles/r1: ")
