"""The first PRM, trained on labelled responses: what it learns, refuses, and how it goes on."""

import json
import math
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from prime_core.data.reading import DataError
from prime_core.launch.fetch import needs
from prime_core.launch.status import stage_processes
from prime_core.models.load import ModelError, load_tokenizer
from prime_core.models.start_models import link_start_prms
from prime_core.prm_loss import opponent_reward
from prime_core.run.changes import refused_changes
from prime_core.run.layout import RunFiles, unfinished_folder
from prime_core.run.stages import STOPPABLE
from prime_core.run.tables import LABELLED, read_json, read_table
from prime_core.runtime.interruption import Interrupted
from prime_core.settings.reading import SettingsError, load_settings, parse_settings
from prime_core.settings.run import Settings
from prime_core.stages import policy, prm, prm_data, prm_offline, score
from prime_core.training import step_checkpoint
from prime_core.training.lora import ADAPTER
from tests.support.made_up_batch import made_up_batch
from tests.support.tiny_model import save_tiny_model

pytestmark = pytest.mark.usefixtures("one_rank")

# To each prompt right responses that begin with "so", wrong ones that begin with "hm".
ROWS: list[dict[str, Any]] = [
    {"prompt": f"{number}+1=?", "response": f"{word} {number + n}", "outcome": int(word == "so")}
    for number in range(4)
    for n, word in enumerate(("so", "hm", "hm"))
]
OFFLINE = {"mini_batch_size": 6, "epochs": 8, "optimizer": {"learning_rate": 3e-3}}


def labelled_run(folder: Path, rows=ROWS, **changes) -> RunFiles:
    """A run whose first policy is there, with a file of labelled responses."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    offline = OFFLINE | {"file": str(file)} | changes.pop("offline", {})
    files = made_up_batch(folder, **{"prm.offline": offline, "prm.prm_update": "frozen"} | changes)
    files.prm(0).unlink()
    return files


def train(files: RunFiles) -> RunFiles:
    prm_data.run(files.root)
    prm_offline.run(files.root)
    return files


def weights(files: RunFiles) -> dict[str, torch.Tensor]:
    return load_file(files.prm(0) / "model.safetensors")


def test_labelled_responses_become_tokens_with_the_references_logprobs(tmp_path, capsys):
    cut = {"prompt": "9", "response": "so", "outcome": 1, "finished": False}
    long = {"prompt": "9", "response": "so" * 50, "outcome": 0}
    bad = {"prompt": "9", "response": None, "outcome": 0}
    files = labelled_run(tmp_path, [*ROWS, cut, long, bad], offline={"max_length": 40})
    prm_data.run(files.root)
    table, tokenizer = read_table(files.labelled, LABELLED), load_tokenizer(files.policy(0))
    assert len(table) == len(ROWS) + 1
    eos = tokenizer.eos_token_id
    assert [row[-1] == eos for row in table["response_tokens"]] == [True] * len(ROWS) + [False]
    assert tokenizer.decode(table["response_tokens"].iloc[-1]) == "so"
    for tokens, logprobs in zip(table["response_tokens"], table["reference_logprobs"], strict=True):
        assert len(tokens) == len(logprobs)
        assert (logprobs < 0).all()
    figures = read_json(files.setup_metrics("prm_data"))
    assert figures["prm_data/num_too_long"] == 1
    assert figures["prm_data/num_malformed"] == 1
    assert figures["prm_data/num_prompts_with_pairs"] == 4
    assert "left out: row 15: response is not text: None" in capsys.readouterr().err


@pytest.mark.parametrize("loss", ["ce", "dpo", "dpo_detached"])
def test_a_prm_learns_to_tell_right_from_wrong_and_a_frozen_one_gives_rewards(tmp_path, loss):
    files = train(labelled_run(tmp_path, offline={"loss_type": loss}))
    figures = read_json(files.setup_metrics("prm_offline"))
    assert figures["prm_offline/num_steps"] == 16
    assert figures["prm_offline/ranking_accuracy"] > 0.9
    assert figures["prm_offline/loss"] < 0.5
    assert not (files.prm(0) / "training_state").exists()
    score.run(files.root, 1)
    assert read_json(files.metrics(1, "score"))["reward/implicit_mean"] != 0


def test_no_two_losses_are_the_same_training(tmp_path):
    runs = [
        train(labelled_run(tmp_path / loss, offline={"loss_type": loss, "mini_batch_size": 12}))
        for loss in ("ce", "dpo", "dpo_detached")
    ]
    for first, second in combinations(map(weights, runs), 2):
        assert any(not torch.equal(first[name], second[name]) for name in first)


def test_dpo_learns_from_whole_groups_that_have_pairs(tmp_path, monkeypatch):
    # Four prompts of three responses; of the first, all are wrong.
    rows = [row | ({"outcome": 0} if str(row["prompt"]).startswith("0") else {}) for row in ROWS]
    files = labelled_run(tmp_path, rows, offline={"loss_type": "dpo", "mini_batch_size": 4})
    seen = []
    usual = prm_offline.OfflineUpdate.learn

    def learn(self, batch, reference, rows, pairs):
        z = usual(self, batch, reference, rows, pairs)
        seen.append((batch.rows["prompt_id"].tolist(), float(pairs[0].mean())))
        return z

    monkeypatch.setattr(prm_offline.OfflineUpdate, "learn", learn)
    train(files)
    assert len({prompt for step, _ in seen for prompt in step}) == 3
    assert all(step.count(prompt) == 3 for step, _ in seen for prompt in step)
    assert seen[0][1] == pytest.approx(math.log(2))  # at first all rewards are 0
    assert seen[-1][1] < 0.5


def test_the_passes_of_a_step_of_dpo_change_nothing(tmp_path):
    dpo = {"loss_type": "dpo", "mini_batch_size": 12, "epochs": 1}
    runs = [
        train(labelled_run(tmp_path / str(size), offline=dpo | {"micro_batch_size": size}))
        for size in (1, 12)  # the sides of a pair apart, and together
    ]
    first, second = map(weights, runs)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-6)


def test_steps_of_dpo_have_whole_groups_and_opponents_of_their_own_time(tmp_path, monkeypatch):
    files = labelled_run(tmp_path, offline={"loss_type": "dpo_detached", "mini_batch_size": 4})
    seen = []
    usual = prm_offline.OfflineUpdate.learn

    def learn(self, batch, reference, rows, pairs):
        z = usual(self, batch, reference, rows, pairs)
        opponents = opponent_reward(z, batch.outcome, batch.group)
        torch.testing.assert_close(pairs[0], opponents, rtol=1e-4, atol=1e-5)
        seen.append((batch.group.bincount().tolist(), float(opponents.abs().max())))
        return z

    monkeypatch.setattr(prm_offline.OfflineUpdate, "learn", learn)
    train(files)
    assert {count for counts, _ in seen for count in counts} == {3}
    assert seen[0][1] == 0  # at first the PRM is the reference
    assert seen[-1][1] > 0.1


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["all", "lora"])
def test_interrupted_training_goes_on_and_ends_with_the_same_bits(lora, tmp_path, monkeypatch):
    dpo = {"loss_type": "dpo_detached", "bon_weight": "bon_rm", "micro_batch_size": 4}
    dpo |= {"lora": lora}
    calm = train(labelled_run(tmp_path / "calm", offline=dpo))
    files = labelled_run(tmp_path / "stopped", offline=dpo)
    # the same file by another name is the same input
    config = files.config.read_text()
    files.config.write_text(config.replace("stopped/rows.jsonl", "calm/rows.jsonl"))
    prm_data.run(files.root)
    answers = iter([*[False] * 5, True])
    monkeypatch.setattr(step_checkpoint, "stop_requested", lambda: next(answers))
    with pytest.raises(Interrupted, match="stopped at step 6 of 16"):
        prm_offline.run(files.root)
    assert not files.prm(0).exists()
    monkeypatch.setattr(step_checkpoint, "stop_requested", lambda: False)
    prm_offline.run(files.root)
    assert all(torch.equal(values, weights(files)[name]) for name, values in weights(calm).items())
    ours, theirs = (read_json(one.setup_metrics("prm_offline")) for one in (files, calm))
    spent = ("timing_s/", "process/")
    assert {k: v for k, v in ours.items() if not k.startswith(spent)} == {
        k: v for k, v in theirs.items() if not k.startswith(spent)
    }
    assert not unfinished_folder(files.prm(0)).exists()


def test_adapters_train_what_they_stand_beside_and_leave_the_rest(tmp_path):
    lora = {"rank": 4, "target_modules": ["q_proj"]}
    files = train(labelled_run(tmp_path, offline={"lora": lora}))
    start = load_file(files.policy(0) / "model.safetensors")
    moved = {
        name for name, weight in weights(files).items() if not torch.equal(weight, start[name])
    }
    assert moved == {name for name in start if name.endswith("q_proj.weight")}
    assert (files.prm(0) / ADAPTER / "adapter_config.json").exists()
    assert read_json(files.setup_metrics("prm_offline"))["prm_offline/loss"] < math.log(2)


def test_layers_that_the_first_prm_has_not_are_refused_by_key(tmp_path):
    files = labelled_run(tmp_path, offline={"lora": {"target_modules": ["q_pro"]}})
    with pytest.raises(ModelError, match=r"prm\.offline\.lora\.target_modules: .* q_pro"):
        train(files)


@pytest.mark.parametrize("lora", [None, {"rank": 4}], ids=["all", "lora"])
def test_the_online_update_goes_on_from_the_trained_one(lora, tmp_path):
    changes = {"prm.prm_update": "after", "prm.lora": lora}
    files = train(labelled_run(tmp_path, offline={"lora": lora}, **changes))
    score.run(files.root, 1)
    prm.run(files.root, 1)
    assert read_json(files.metrics(1, "prm"))["prm/num_steps"] == 1
    after = load_file(files.prm(1) / "model.safetensors")
    moved = max(float((after[name] - w).abs().max()) for name, w in weights(files).items())
    assert 0 < moved < 1e-5  # one step at the online rate


@pytest.mark.parametrize(
    ("rows", "offline", "message"),
    [
        (ROWS[::3], {}, r"all 4 responses have the outcome 1; expected right and wrong"),
        (ROWS[:5:4], {"loss_type": "dpo"}, r"no prompt has responses of different outcomes"),
        (ROWS, {"max_length": 3}, r"none of its 12 responses is within prm.offline.max_length 3"),
    ],
)
def test_responses_that_teach_nothing_are_refused(rows, offline, message, tmp_path):
    with pytest.raises(DataError, match=message):
        prm_data.run(labelled_run(tmp_path, rows, offline=offline).root)


def test_stages_without_a_file_of_responses_say_so(tmp_path):
    files = made_up_batch(tmp_path)
    for stage in (prm_data, prm_offline):
        with pytest.raises(ValueError, match=r"config.yaml: prm.offline is null"):
            stage.run(files.root)


def other_tokens(folder: Path) -> Path:
    """A model whose tokenizer has a token more."""
    tokenizer = load_tokenizer(save_tiny_model(folder, seed=2))
    tokenizer.add_tokens(["<step>"])
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("key", ["path", "reference_path"])
def test_models_with_other_tokens_than_the_policys_are_refused_by_key(key, tmp_path):
    path = other_tokens(tmp_path / "other")
    settings: dict[str, Any] = {f"prm.{key}": str(path)}
    files = made_up_batch(tmp_path, **settings)
    files.prm(0).unlink()
    with pytest.raises(ModelError, match=rf"prm.{key}: .*other: its tokenizer is not that of"):
        link_start_prms(load_settings(files.config), files)


def test_a_reference_of_its_own_is_linked_and_used(tmp_path):
    path = save_tiny_model(tmp_path / "other", seed=2)
    settings: dict[str, Any] = {"prm.path": str(path), "prm.reference_path": str(path)}
    files = made_up_batch(tmp_path, **settings | {"policy.kl_coef": 0.1})
    files.prm(0).unlink()
    link_start_prms(load_settings(files.config), files)
    score.run(files.root, 1)  # the PRM is its reference, though not the policy's
    figures = read_json(files.metrics(1, "score"))
    assert figures["reward/implicit_mean"] == 0
    prm.run(files.root, 1)
    policy.run(files.root, 1)  # whose KL is to its own start
    figures = read_json(files.metrics(1, "policy"))
    assert figures["actor/kl_reference"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bon_weight": "bon_rm"}, "bon_weight 'bon_rm' weighs the losses of loss_type 'dpo'"),
        (
            {"offline": {"file": "x", "bon_weight": "bon_acc", "loss_type": "dpo"}},
            "bon_weight 'bon_acc' weighs the losses of loss_type 'dpo_detached', and .* is 'dpo'",
        ),
        ({"prm_update": "frozen"}, "'frozen' needs prm.path or prm.offline"),
        ({"reference_path": "x", "prm_reference": "policy"}, "leave one of them out"),
    ],
)
def test_combinations_without_meaning_are_refused(settings, message):
    with pytest.raises(SettingsError, match=message):
        parse_settings({"prm": settings}, "test")


def test_usual_settings_of_offline_training_are_the_published_ones():
    offline = parse_settings({"prm.offline.file": "x"}, "test").prm.offline
    assert Settings().prm.offline is None
    assert offline is not None
    assert (offline.loss_type, offline.mini_batch_size, offline.epochs) == ("ce", 64, 1)
    assert offline.optimizer.learning_rate == 5e-7


def test_settings_of_the_training_are_fixed_once_it_has_begun(tmp_path):
    files = RunFiles(tmp_path)
    settings, slower, cut, other = (
        parse_settings({"prm.offline.file": "x"} | change, "test")
        for change in (
            {},
            {"prm.offline.optimizer.learning_rate": 1e-7},
            {"prm.offline.micro_batch_size": 2},
            {"prm.reference_path": "other"},
        )
    )
    assert refused_changes(settings, slower, files) == []
    files.labelled.parent.mkdir()
    files.labelled.touch()
    assert refused_changes(settings, slower, files) == [
        "prm.offline.optimizer.learning_rate: 5e-07 -> 1e-07"
    ]
    assert refused_changes(settings, other, files) == ["prm.reference_path: None -> 'other'"]
    assert refused_changes(settings, cut, files) == []


def test_the_file_and_the_models_are_looked_for_before_a_run_begins():
    prm = {"prm.path": "lab/prm", "prm.reference_path": "lab/ref", "prm.offline.file": "x.jsonl"}
    for change, keys in (
        ({}, {*prm}),
        ({"prm.prm_update": "none"}, {*prm}),
        ({"prm.prm_update": "none", "prm.offline": None}, set()),
    ):
        raw = {key: value for key, value in prm.items() if not key.startswith(tuple(change))}
        settings = parse_settings(raw | change, "test")
        assert {need.key for need in needs(settings) if need.key.startswith("prm.")} == keys


def test_an_allocation_that_ends_tells_the_training_to_stop():
    """As an allocation sees it: the words of a process."""
    assert stage_processes._stage(["prm-offline", "--run", "results/x"]).name in STOPPABLE
