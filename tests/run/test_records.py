"""What tables and weights say of themselves, and what is refused because of it."""

import json
import shutil

import pandas as pd
import pyarrow.parquet as pq
import pytest

from prime_core.run.layout import RunFiles
from prime_core.run.records import (
    RECORD,
    Made,
    TableError,
    checked_weights,
    identity,
    write_weights_record,
)
from prime_core.run.selection import read_judged
from prime_core.run.tables import OUTCOMES, PROMPTS, ROLLOUTS, read_table, table_writer, write_table

PROMPT = {
    "prompt_id": "p0",
    "prompt": [{"role": "user", "content": "1+1="}],
    "ability": "math",
    "ground_truth": "2",
    "data_source": "made up",
}


@pytest.fixture
def files(tmp_path) -> RunFiles:
    """Two iterations of a run that has a shard of rollouts, its outcomes and two policies."""
    files = RunFiles(tmp_path / "run")
    write_table(files.train, [PROMPT], PROMPTS, Made(files.root))
    for iteration in (1, 2):
        weights(files, iteration - 1, b"%d" % iteration)
        write_shard(files, iteration)
    return files


def weights(files: RunFiles, iteration: int, content: bytes, model: str = "policy") -> None:
    folder = files.weights(model, iteration)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(content)
    (folder / "config.json").write_text("{}")
    write_weights_record(folder, folder, Made(files.root, [files.train]))


def write_shard(files: RunFiles, iteration: int, text: str = "2") -> None:
    row = {"prompt_id": "p0", "sample": 0, "prompt_tokens": [1], "response_tokens": [iteration]}
    row |= {"sampler_logprobs": [-1.0], "text": text, "finish_reason": "stop"}
    row |= {"policy_iteration": iteration - 1}
    made = Made(files.root, [files.train, files.policy(iteration - 1)], {"num_shards": 1})
    write_table(files.rollouts(iteration, 0), [row], ROLLOUTS, made)
    verdict = {"prompt_id": "p0", "sample": 0, "outcome": 1.0, "verdict": "correct"}
    verdict |= {"extracted": text, "seconds": 0.1}
    made = Made(files.root, [files.rollouts(iteration, 0), files.train])
    write_table(files.outcomes(iteration, 0), [verdict], OUTCOMES, made)


def swap(first, second) -> None:
    aside = first.with_name("aside")
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def test_what_belongs_together_is_read(files):
    assert len(read_judged(files, 1, [0])) == 1
    assert checked_weights(files.policy(1), files.root) == files.policy(1)


def test_rollouts_and_outcomes_both_of_another_iteration_are_refused(files):
    swap(files.rollouts(1, 0), files.rollouts(2, 0))
    swap(files.outcomes(1, 0), files.outcomes(2, 0))
    with pytest.raises(TableError, match=r"0001/rollouts/00.parquet: is iterations/0002/rollouts"):
        read_judged(files, 1, [0])


def test_outcomes_of_responses_that_were_sampled_again_are_refused(files):
    before = files.outcomes(1, 0).read_bytes()
    write_shard(files, 1, text="3")
    files.outcomes(1, 0).write_bytes(before)
    with pytest.raises(TableError, match=r"outcomes/00.parquet: was not made from the .*rollouts"):
        read_judged(files, 1, [0])


def test_a_table_of_another_run_is_refused_though_it_has_the_same_place(files, tmp_path):
    other = RunFiles(tmp_path / "other")
    write_table(other.train, [PROMPT | {"ground_truth": "3"}], PROMPTS, Made(other.root))
    weights(other, 0, b"other")
    write_shard(other, 1)
    shutil.copy(other.rollouts(1, 0), files.rollouts(1, 0))
    with pytest.raises(TableError, match=r"rollouts/00.parquet: was not made from the .*train"):
        read_table(files.rollouts(1, 0), ROLLOUTS, files.root)


def test_a_table_without_a_record_is_refused_among_those_that_have_one(files):
    rows = read_table(files.rollouts(1, 0), ROLLOUTS)
    write_table(files.rollouts(1, 0), rows, ROLLOUTS)
    with pytest.raises(TableError, match="does not say what it was made from"):
        read_table(files.rollouts(1, 0), ROLLOUTS, files.root)


def test_a_run_of_an_earlier_version_has_no_records_and_goes_on(files):
    for path, schema in ((files.train, PROMPTS), (files.rollouts(1, 0), ROLLOUTS)):
        write_table(path, read_table(path, schema), schema)
    (files.policy(0) / RECORD).unlink()
    assert len(read_table(files.rollouts(1, 0), ROLLOUTS, files.root)) == 1
    checked_weights(files.policy(0), files.root)


def test_a_number_of_shards_other_than_they_were_sampled_as_is_refused(files):
    files.shard_count(1).write_text("2")
    with pytest.raises(TableError, match=r"num_shards.json: says 2 shards .* as one of 1"):
        read_judged(files, 1, [0])
    files.shard_count(1).write_text("")
    with pytest.raises(ValueError, match=r"num_shards.json: expected the number of shards"):
        files.num_shards(1, 1)


def test_a_flipped_byte_of_a_page_is_found(files):
    path = files.rollouts(1, 0)
    whole = bytearray(path.read_bytes())
    place = pq.ParquetFile(path).metadata.row_group(0).column(5).data_page_offset + 40
    whole[place] ^= 1
    path.write_bytes(whole)
    with pytest.raises(TableError, match=r"rollouts/00.parquet: not a complete parquet file"):
        read_table(path, ROLLOUTS, files.root)


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove", "add"])
@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_damaged_file_of_weights_is_named(files, damage, name):
    path = files.policy(1) / name
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    elif damage == "add":
        path = path.with_name(f"second-{name}")
        path.write_bytes(content)
    else:
        changed = {"flip": bytes([content[0] ^ 1]) + content[1:], "truncate": content[:-1]}
        path.write_bytes(changed.get(damage, b""))
    with pytest.raises(TableError, match=str(path)):
        checked_weights(files.policy(1), files.root)


def test_weights_in_anothers_place_are_refused(files):
    weights(files, 1, b"prm", "prm")
    swap(files.policy(1), files.prm(1))
    with pytest.raises(TableError, match=r"0001/policy: is iterations/0001/prm of a run"):
        checked_weights(files.policy(1), files.root)


def test_weights_that_were_made_from_other_data_are_refused(files):
    write_table(files.train, [PROMPT | {"ground_truth": "3"}], PROMPTS, Made(files.root))
    with pytest.raises(TableError, match=r"0001/policy: was not made from the .*train.parquet"):
        checked_weights(files.policy(1), files.root)


def test_the_record_of_a_table_knows_nothing_of_what_is_measured(files):
    before = identity(files.outcomes(1, 0))
    rows = read_table(files.outcomes(1, 0), OUTCOMES)
    made = Made(files.root, [files.rollouts(1, 0), files.train])
    write_table(files.outcomes(1, 0), rows.assign(seconds=9.0), OUTCOMES, made)
    assert identity(files.outcomes(1, 0)) == before
    write_table(files.outcomes(1, 0), rows.assign(outcome=0.0), OUTCOMES, made)
    assert identity(files.outcomes(1, 0)) != before


def test_a_table_written_in_parts_has_a_record_too(files):
    with table_writer(files.validation, PROMPTS, Made(files.root)) as write:
        write([PROMPT])
        write([PROMPT])
    assert len(read_table(files.validation, PROMPTS, files.root)) == 2
    shutil.copy(files.validation, files.train)
    with pytest.raises(TableError, match=r"train\.parquet: is data/validation\.parquet of a run"):
        read_table(files.train, PROMPTS, files.root)


def test_a_damaged_record_is_named(files):
    (files.policy(1) / RECORD).write_text("")
    with pytest.raises(TableError, match=f"{RECORD}: its record .* is damaged"):
        checked_weights(files.policy(1), files.root)


def test_other_readers_see_an_ordinary_table(files):
    assert pd.read_parquet(files.rollouts(1, 0))["text"].tolist() == ["2"]
    record = json.loads(pq.read_metadata(files.rollouts(1, 0)).metadata[b"prime"])
    assert record["path"] == "iterations/0001/rollouts/00.parquet"
    assert set(record["made_from"]) == {"data/train.parquet", "models/policy-0000"}


def test_weights_that_are_being_deleted_are_no_sign_of_anything(files):
    shutil.rmtree(files.policy(0))
    assert len(read_judged(files, 1, [0])) == 1
    weights(files, 0, b"1")
    (files.policy(0) / RECORD).unlink()  # the first of its files to go
    assert len(read_judged(files, 1, [0])) == 1
    weights(files, 0, b"another")
    with pytest.raises(
        TableError, match=r"rollouts/00.parquet: was not made from the .*policy-0000"
    ):
        read_judged(files, 1, [0])
