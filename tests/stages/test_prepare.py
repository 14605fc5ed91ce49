"""The stage `prepare` on tables like the published ones: what is left out, and what it says."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from prime_core.data.problems import DataError
from prime_core.models.load import load_tokenizer
from prime_core.models.prompts import PromptRefused
from prime_core.run.state import RunState
from prime_core.run.tables import DEMONSTRATIONS, DROPPED, PROMPTS, read_json, read_table
from prime_core.settings.reading import parse_settings
from prime_core.stages import build, prepare
from tests.data.test_problems import write
from tests.models.test_prompts import STRICT
from tests.support.shared_data import ROOT, shared
from tests.support.workflow_runs import TINY

BOX = "\n\nPresent the answer in LaTex format: \\boxed{Your answer}"
LONG = "Tom has three red balls and four blue balls in a bag of his own, how many has he"
NUMBERS = [{"prompt": f"What is {n} + {n}?", "ground_truth": str(2 * n)} for n in range(30)]


def prepared(
    folder: Path, data: dict, benchmarks: dict | None = None, seed: int = 0
) -> tuple[dict[str, pd.DataFrame], dict]:
    """Tables and figures of a run with these data."""
    settings = {
        **{key: TINY[key] for key in ("model", "rollout")},
        "results": str(folder / "results"),
        "seed": seed,
        "data": {"source": "files", "max_prompt_length": 64, **data},
        "sft": {"enabled": "sft" in data},
        "evaluation": {"benchmarks": benchmarks or {"held": {}}},
    }
    state = RunState(parse_settings(settings, "test"))
    state.begin()
    files = state.files
    if not files.base_model.exists():
        build.run(files.root)
    prepare.run(files.root)
    schemas = {
        files.train: PROMPTS,
        files.validation: PROMPTS,
        files.demonstrations: DEMONSTRATIONS,
        files.dropped: DROPPED,
    }
    tables = {path.stem: read_table(path, schema) for path, schema in schemas.items()}
    return tables, read_json(files.setup_metrics("prepare"))


def reasons(dropped: pd.DataFrame) -> list[tuple[str, str, str]]:
    return list(dropped[["reason", "prompt_id", "detail"]].itertuples(index=False, name=None))


def test_every_row_left_out_is_counted_quoted_and_explained(tmp_path, capsys):
    rows: list[dict] = [
        {"prompt": "What is 1 + 1?", "ground_truth": "2"},
        {"prompt": "what is $1+1$?", "ground_truth": "2"},
        {"prompt": "What is 1+1 ?", "ground_truth": "3"},
        {"prompt": "What is 1-1?", "ground_truth": "0"},
        {"prompt": f"{LONG} then?", "ground_truth": "7"},
        {"prompt": "Add 2 and 2", "ground_truth": "4"},
        {"prompt": "number " * 200, "ground_truth": "4"},
        {"prompt": "no truth", "ground_truth": None},
        {"prompt": "poem", "ground_truth": "x", "ability": "poetry"},
    ]
    train = write(tmp_path / "train.jsonl", rows)
    with train.open("a") as file:
        file.write('{"prompt": "torn", \n')
    bench = [{"question": f"{LONG}?"}, {"question": "Add 2 and 2"}, {"question": "Unrelated"}]
    validation = write(tmp_path / "validation.jsonl", [{"prompt": "Add", "ground_truth": "1"}])
    tables, figures = prepared(
        tmp_path,
        {
            "train": str(train),
            "validation": str(validation),
            "contamination": {"files": [str(write(tmp_path / "bench.jsonl", bench))]},
        },
    )
    assert list(tables["train"]["prompt_id"]) == ["train-000000", "train-000003"]
    *others, too_long = sorted(reasons(tables["dropped"]))
    assert too_long[:2] == ("too_long", "train-000006")
    assert int(too_long[2].removesuffix(" tokens")) > 200
    assert others == [
        ("duplicate", "train-000001", "train-000000"),
        ("duplicate", "train-000002", "train-000000, with another ground truth"),
        (
            "in_benchmark",
            "train-000004",
            "bench.jsonl/0: tom has three red balls and four blue balls in a bag of",
        ),
        ("in_benchmark", "train-000005", "bench.jsonl/1: the whole text"),
        (
            "malformed",
            "",
            "is not JSON (Expecting property name enclosed in double quotes: "
            "line 2 column 1 (char 20))",
        ),
        ("malformed", "", "no ground truth"),
        (
            "malformed",
            "",
            "no verifier for the ability 'poetry'; expected one of math, code, function, judge",
        ),
    ]
    quotes = dict(zip(tables["dropped"]["row"], tables["dropped"]["quote"], strict=True))
    assert quotes[9] == '{"prompt": "torn", \n'
    assert json.loads(quotes[7])["prompt"] == "no truth"
    assert quotes[5] == "Add 2 and 2"
    assert {
        "data/num_train": 2,
        "data/num_train_duplicate": 2,
        "data/num_train_in_benchmark": 2,
        "data/num_in_benchmark/bench.jsonl": 2,
        "data/num_train_malformed": 3,
        "data/num_malformed": 3,
        "data/num_train_too_long": 1,
    }.items() <= figures.items()
    shown = capsys.readouterr()
    assert "train.jsonl: row 7 left out: no ground truth: {" in shown.err
    assert "3 malformed rows left out; of the training problems 2 duplicate" in shown.out


def test_what_is_not_asked_for_is_not_left_out(tmp_path):
    rows = [{"prompt": "Add 2 and 2", "ground_truth": "4"}] * 3
    place = str(write(tmp_path / "both.jsonl", rows))
    off = {"deduplicate": False, "contamination": {"ngram_size": 0, "files": [place]}}
    tables, _ = prepared(tmp_path, {"train": place, "validation": place, **off})
    assert len(tables["train"]) == 3
    assert tables["dropped"].empty
    with pytest.raises(
        DataError,
        match=r"data\.train .*both.jsonl\) holds no usable problem.*"
        r"0 malformed, 2 duplicate, 1 in benchmark, 0 too long",
    ):
        prepared(tmp_path / "on", {"train": place, "validation": place})


def test_held_out_problems_are_the_same_whatever_the_order_of_the_file_and_the_seed(tmp_path):
    def held_out(rows: list[dict], name: str, seed: int) -> tuple[set[str], set[str]]:
        place = str(write(tmp_path / f"{name}.jsonl", rows))
        tables, figures = prepared(
            tmp_path / name, {"train": place, "num_validation": 5}, seed=seed
        )
        assert figures["data/num_validation"] == 5
        first, second = (
            {messages[-1]["content"] for messages in tables[split]["prompt"]}
            for split in ("validation", "train")
        )
        return first, second

    validation, train = held_out(NUMBERS, "one", 0)
    assert (len(validation), len(train)) == (5, 25)
    assert not validation & train
    assert held_out([*NUMBERS[::-1], NUMBERS[3]], "two", 7) == (validation, train)


def test_published_forms_of_mathematics_and_code_are_read_with_their_templates(tmp_path):
    system = {"role": "system", "content": "\nWhen tackling.\n"}
    tests = json.dumps({"inputs": ["1\n"], "outputs": ["2\n"]})
    eurus = [
        {
            "data_source": "numina",
            "prompt": [system, {"role": "user", "content": f"What is 5+5?{BOX}"}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": "10"},
            "extra_info": {"index": 0},
        },
        {
            "data_source": "taco",
            "prompt": [system, {"role": "user", "content": "Add one."}],
            "ability": "code",
            "reward_model": {"style": "rule", "ground_truth": tests},
            "extra_info": {"index": 1},
        },
    ]
    gsm8k = [{"question": "What is 6+6?", "answer": "6+6=12\n#### 12"}]
    math = [{"problem": "What is 7+7?", "solution": "It is $\\boxed{\\text{a {14}}}$, or 14."}]
    demonstrations: list[dict[str, Any]] = [
        {
            "task": "Coding",
            "system": "Think.",
            "conversations": [
                {"from": "human", "value": "Add two."},
                {"from": "gpt", "value": "print(2)"},
            ],
        },
        {"task": "Math", "system": None, "conversations": [{"from": "human", "value": "x"}]},
    ]
    (tmp_path / "eurus").mkdir()
    write(tmp_path / "eurus/validation.parquet", eurus[1:])
    write(tmp_path / "eurus/train.parquet", eurus)
    sft = write(tmp_path / "0000.parquet", demonstrations)
    tables, figures = prepared(
        tmp_path,
        {
            "train": str(tmp_path / "eurus"),
            "validation": str(tmp_path / "eurus"),
            "columns": {"ground_truth": "reward_model.ground_truth"},
            "sources": {
                "gsm8k": {
                    "file": str(write(tmp_path / "g.jsonl.gz", gsm8k)),
                    "columns": {"prompt": "question", "ground_truth": "answer"},
                    "ground_truth_after": "####",
                },
                "math": {
                    "file": str(write(tmp_path / "m.parquet", math)),
                    "columns": {"prompt": "problem", "ground_truth": "solution"},
                    "ground_truth_after": "\\boxed",
                },
            },
            "sft": str(sft),
            "sft_columns": {
                "prompt": "conversations",
                "response": "conversations",
                "ability": "task",
                "system": "system",
            },
            "templates": {"math": "configs/prompts/math.txt", "code": "configs/prompts/code.txt"},
            "system_prompts": {"math": "configs/prompts/eurus_system.txt"},
            "contamination": {"ngram_size": 0},
            "max_prompt_length": 2000,
        },
    )
    train = tables["train"].set_index("prompt_id")
    assert list(train.index) == ["train-000000", "train-000001", "gsm8k-000000", "math-000000"]
    assert list(train["ground_truth"]) == ["10", tests, "12", "\\text{a {14}}"]
    assert list(train["ability"]) == ["math", "code", "math", "math"]
    asked = {name: [dict(m) for m in messages] for name, messages in train["prompt"].items()}
    assert asked["train-000000"] == eurus[0]["prompt"]  # its suffix is not added again
    assert asked["train-000001"][1]["content"] == (
        "Add one.\n\nWrite Python code to solve the problem. Present the code in \n```python\n"
        "Your code\n```\nat the end."
    )
    own = (ROOT / "configs/prompts/eurus_system.txt").read_text().removesuffix("\n")
    assert own.startswith("\nWhen tackling complex")
    assert own.endswith("Next action: [NEXT ACTION NAME]\n\n")
    for name, problem in (("gsm8k-000000", "What is 6+6?"), ("math-000000", "What is 7+7?")):
        assert asked[name] == [
            {"role": "system", "content": own},
            {"role": "user", "content": problem + BOX},
        ]
    (demonstration,) = tables["demonstrations"].to_dict("records")
    assert demonstration["response"] == "print(2)"
    assert [message["role"] for message in demonstration["prompt"]] == ["system", "user"]
    assert demonstration["prompt"][0]["content"] == "Think."
    (left_out,) = reasons(tables["dropped"])
    assert left_out == ("malformed", "", "no response at the end of its conversation")
    assert figures["data/num_train/code"] == 1


def test_math_problems_that_stand_in_math500_are_found_and_listed(tmp_path):
    """MATH's training problems differ from its test problems, but some are made alike."""
    columns = {"prompt": "problem", "ground_truth": "answer"}
    tables, figures = prepared(
        tmp_path,
        {
            "train": str(shared("data/math_train7474.jsonl.gz")),
            "num_validation": 100,
            "columns": columns,
            "max_prompt_length": 2000,
        },
        benchmarks={"math500": {"file": str(shared("data/math500.jsonl.gz"))}},
    )
    assert figures["data/num_in_benchmark/math500"] == 154
    assert figures["data/num_train_duplicate"] == 2
    dropped = tables["dropped"]
    found = dropped[dropped["reason"] == "in_benchmark"]
    assert len(found) == 154
    assert found["detail"].str.startswith("math500/benchmark-").all()
    num_left_out = len(dropped)
    assert len(tables["train"]) + 100 + num_left_out == 7474


def test_a_benchmark_that_cannot_be_read_is_refused_instead_of_matching_nothing(tmp_path):
    rows = [{"prompt": "What is 3 + 3?", "ground_truth": "6"}]
    train = str(write(tmp_path / "train.jsonl", [{**rows[0], "ground_truth": "#### 6"}, *NUMBERS]))
    data = {"train": train, "num_validation": 1, "ground_truth_after": "####"}
    message = (
        r"evaluation\.benchmarks\.b .*b\.jsonl\): holds no problem .*row 0: nothing after '####'"
    )
    benchmark = {"file": str(write(tmp_path / "b.jsonl", rows))}
    with pytest.raises(DataError, match=message):
        prepared(tmp_path, data, benchmarks={"b": benchmark})


def test_a_template_without_a_place_for_the_problem_is_refused(tmp_path):
    (tmp_path / "math.txt").write_text("Solve this:\n")
    place = str(write(tmp_path / "a.jsonl", NUMBERS))
    data = {"train": place, "num_validation": 1, "templates": {"math": str(tmp_path / "math.txt")}}
    with pytest.raises(ValueError, match=r"math\.txt: holds \{prompt\} 0 times"):
        prepared(tmp_path, data)
    missing = data | {"templates": {"math": "configs/prompts/none.txt"}}
    with pytest.raises(ValueError, match=r"none\.txt: No such file.*data\.templates"):
        prepared(tmp_path / "other", missing)


def test_settings_that_name_both_ways_of_holding_out_are_refused():
    raw = {"source": "files", "train": "a", "validation": "b", "num_validation": 3, "sft": "c"}
    with pytest.raises(ValueError, match=r"data\.validation 'b' and data\.num_validation 3"):
        parse_settings(yaml.safe_load(json.dumps({"data": raw})), "test")


def test_the_examples_of_the_guide_are_settings():
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = [part.split("```")[0] for part in text.split("```yaml\n")[1:]]
    assert len(blocks) == 3
    for block in blocks:
        raw = yaml.safe_load(block)
        settings = parse_settings(raw | {"sft": {"enabled": False}}, "docs/data.md")
        assert settings.data.model_dump(exclude_unset=True).keys() == raw["data"].keys()
        for path in (*settings.data.templates.values(), *settings.data.system_prompts.values()):
            assert (ROOT / path).is_file()


def test_a_template_without_system_messages_ends_prepare_unless_they_are_merged(
    tmp_path, monkeypatch
):
    def strict(folder: Path) -> Any:
        tokenizer = load_tokenizer(folder)
        tokenizer.chat_template = STRICT
        return tokenizer

    monkeypatch.setattr(prepare, "load_tokenizer", strict)
    turns = [{"role": "user", "content": word} for word in ("Add", "two")]
    rows: list[dict[str, Any]] = [*NUMBERS[:4], {"prompt": turns, "ground_truth": "2"}]
    data = {
        "train": str(write(tmp_path / "train.jsonl", rows)),
        "validation": str(write(tmp_path / "validation.jsonl", NUMBERS[4:6])),
    }
    tables, figures = prepared(tmp_path / "plain", data)
    assert figures["data/num_train"] == 4
    [(reason, row, detail)] = reasons(tables["dropped"])
    assert (reason, row) == ("malformed", "train-000004")
    assert "Roles must alternate" in detail
    data |= {"system_prompt": "Think."}
    with pytest.raises(PromptRefused, match=r"System role not supported.*data\.system_role: merge"):
        prepared(tmp_path / "refused", data)
    tables, _ = prepared(tmp_path / "merged", data | {"system_role": "merge"})
    [message] = tables["train"]["prompt"][0]
    assert message == {"role": "user", "content": "Think.\n\nWhat is 0 + 0?"}
    assert len(tables["train"]) == 4
