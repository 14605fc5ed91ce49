"""The toy language model of the reference values, and one PRM update of it with our functions."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from prime_core.implicit_reward import implicit_reward, log_odds
from prime_core.logprobs import predictions
from prime_core.prm_loss import prm_cross_entropy, prm_loss
from tests.support.comparison import Settings

WEIGHTS = ("emb", "W", "U", "head")


def toy_logits(weights: dict[str, Tensor], ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Logits of every next token: tanh(e W + c U) head, c the mean embedding so far."""
    embedded = weights["emb"][ids]
    present = attention_mask[..., None].float()
    context = (embedded * present).cumsum(1) / present.cumsum(1).clamp(min=1)
    return torch.tanh(embedded @ weights["W"] + context @ weights["U"]) @ weights["head"]


def response_logprobs(
    weights: dict[str, Tensor], ids: Tensor, attention_mask: Tensor, num_tokens: int
) -> Tensor:
    """Log-probabilities of the last `num_tokens` tokens, the response."""
    logits = toy_logits(weights, ids, attention_mask)[:, -num_tokens - 1 : -1]
    return predictions(logits, ids[:, -num_tokens:], with_entropy=False)[0]


@dataclass
class Update:
    """What a PRM update leaves behind; `last_losses` are those of the last micro batches."""

    weights: dict[str, Tensor]
    rewards: Tensor
    last_losses: list[float]
    grad_norms: list[float]


def cross_entropy_mean(z: Tensor, rows: Tensor, outcome: Tensor, num_responses: int) -> Tensor:
    """A micro batch's part of the minibatch's mean cross-entropy."""
    return prm_loss(prm_cross_entropy(z, outcome[rows]), num_responses)


def prm_update(
    x: dict[str, Tensor],
    settings: Settings,
    micro_batch_size: int,
    loss_part: Callable[..., Tensor] = cross_entropy_mean,
) -> Update:
    """One pass over the batch in minibatches: AdamW, clipped gradients, rewards as seen on the way.

    `loss_part(z, rows, outcome, num_responses)` is a micro batch's part of the minibatch's loss.
    The published single forward lets later minibatches score with the already updated PRM.
    """
    weights = {key: x[f"init_{key}"].clone().requires_grad_() for key in WEIGHTS}
    frozen = {key: x[f"ref_{key}"] for key in WEIGHTS}
    optimizer = torch.optim.AdamW(
        list(weights.values()),
        lr=settings["lr"],
        betas=settings.get("betas", (0.9, 0.999)),
        eps=settings.get("eps", 1e-8),
        weight_decay=settings.get("weight_decay", 0.0),
    )
    num_tokens = x["responses"].shape[1]
    mask = x["attention_mask"][:, -num_tokens:].bool()
    rewards, last_losses, grad_norms = [], [], []
    for rows in torch.arange(len(mask)).split(settings["mini_batch_size"]):
        optimizer.zero_grad()
        for part in rows.split(micro_batch_size):
            ids, attention = x["input_ids"][part], x["attention_mask"][part]
            prm = response_logprobs(weights, ids, attention, num_tokens)
            # The frozen model, or the policy that sampled.
            ref = (
                response_logprobs(frozen, ids, attention, num_tokens)
                if settings.only("ref_type", "freeze", "policy") == "freeze"
                else x["old_log_probs"][part][:, -num_tokens:]
            )
            reward = implicit_reward(prm, ref, mask[part], settings["beta"])
            z = log_odds(reward, mask[part])
            loss = loss_part(z, part, x["acc"], num_responses=len(rows))
            loss.backward()
            rewards.append(reward.detach())
        last_losses.append(loss.item() * len(rows) / len(part))
        norm = torch.nn.utils.clip_grad_norm_(weights.values(), settings["grad_clip"])
        grad_norms.append(norm.item())
        optimizer.step()
    return Update(weights, torch.cat(rewards), last_losses, grad_norms)
