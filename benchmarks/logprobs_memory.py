"""Print the peak memory of log-probabilities and their gradient, in chunks beside all at once.

    python -m benchmarks.logprobs_memory                    # 4,096 tokens, a vocabulary of 151,936
    python -m benchmarks.logprobs_memory --dtype bfloat16 --chunks 256 1024 4096

A model of one thin layer, so that its output layer is nearly all that counts: peak resident memory
of a separate process for each way, minus what it held before the pass. `all at once` computes the
logits of the whole response, takes their log-softmax and lets autograd keep what it needs.
`torch's loss` is torch.nn.functional.linear_cross_entropy, where this torch has it: the sum alone,
without the tokens' own log-probabilities.
"""

import argparse
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import torch
from tqdm import tqdm
from transformers import Qwen2Config, Qwen2ForCausalLM

from prime_core.training.batches import Sequences
from prime_core.training.logprob_model import give_logprobs
from prime_core.training.packing import Packed, pack
from prime_core.training.scoring import response_logprobs

ALL_AT_ONCE, TORCHS_LOSS = 0, -1
NAMES = {ALL_AT_ONCE: "all at once", TORCHS_LOSS: "torch's loss"}
ROW = "{:<16} {:>12} {:>12} {:>7} {:>8} {:>12}"
HEAD = ("logits", "before GB", "peak more GB", "ratio", "seconds", "log-prob sum")
GB = 1e9


def model_of(options: argparse.Namespace) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=options.vocabulary,
        hidden_size=options.hidden,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        intermediate_size=options.hidden,
        tie_word_embeddings=True,
    )
    return Qwen2ForCausalLM(config).to(getattr(torch, options.dtype))


def all_at_once(model: Qwen2ForCausalLM, batch: Packed) -> torch.Tensor:
    """Autograd's own way, on all logits."""
    logits = model(input_ids=batch.input_ids, logits_to_keep=batch.predictor_index).logits[0]
    return logits.float().log_softmax(-1).gather(1, batch.targets[:, None])


def torchs_loss(model: Qwen2ForCausalLM, batch: Packed) -> torch.Tensor:
    """The library's sum of log-probabilities, in chunks of its own choice."""
    hidden = model.model(input_ids=batch.input_ids).last_hidden_state[0, batch.predictor_index]
    loss = torch.nn.functional.linear_cross_entropy(
        hidden,
        model.lm_head.weight,
        batch.targets,
        reduction="sum",
        options=torch.nn.LinearCrossEntropyOptions(),
    )
    return -loss


def peak() -> float:
    """Peak resident memory of this process so far, bytes."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure(options: argparse.Namespace, chunk: int) -> tuple[float, float, float, float]:
    """Bytes before, bytes more at the peak, seconds, the sum of the log-probabilities.

    chunk: tokens, ALL_AT_ONCE or TORCHS_LOSS. Call it in a fresh process: the peak never falls.
    """
    torch.set_num_threads(1)
    model = model_of(options)
    tokens = torch.arange(options.tokens).remainder(options.vocabulary).tolist()
    batch = pack(Sequences([[1]], [tokens]), torch.device("cpu"))
    for weight in model.parameters():  # allocated before, not counted
        weight.grad = torch.zeros_like(weight)
    before, begun = peak(), time.perf_counter()
    if chunk == TORCHS_LOSS:
        logprobs = torchs_loss(model, batch)
    elif chunk:
        assert give_logprobs(model)
        logprobs = response_logprobs(model, batch, chunk_tokens=chunk)
    else:
        logprobs = all_at_once(model, batch)
    total = logprobs.sum()
    total.backward()
    return before, peak() - before, time.perf_counter() - begun, float(total.detach())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=4096, help="of the response")
    parser.add_argument("--vocabulary", type=int, default=151936)
    parser.add_argument("--hidden", type=int, default=64, help="width of the model")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--chunks", type=int, nargs="+", default=[256, 512, 1024], help="tokens")
    return parser.parse_args()


def main() -> None:
    options = parse()
    library = [TORCHS_LOSS] if hasattr(torch.nn, "LinearCrossEntropyOptions") else []
    ways = [ALL_AT_ONCE, *library, *sorted(options.chunks, reverse=True)]
    found = []
    for chunk in tqdm(ways, unit="way", dynamic_ncols=True):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as one:
            found.append(one.submit(measure, options, chunk).result())
    print(ROW.format(*HEAD))
    for chunk, (before, more, seconds, total) in zip(ways, found, strict=True):
        name = NAMES.get(chunk, f"{chunk:,} tokens")
        figures = (f"{before / GB:.2f}", f"{more / GB:.2f}", f"{found[0][1] / more:.1f}")
        print(ROW.format(name, *figures, f"{seconds:.1f}", f"{total:.1f}"))


if __name__ == "__main__":
    main()
