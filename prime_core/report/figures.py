"""The report's figures: what each draws, and how to read it.

A new figure is one entry of FIGURES, and its caption in workflow/report/figures.rst (a test keeps
the two equal).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prime_core.report.drawing.drawings import (
    draw_cost,
    draw_evaluations,
    draw_seconds,
    draw_shares,
    draw_steps,
)
from prime_core.report.drawing.plots import Panel, draw_panels, render
from prime_core.report.reproduction.drawings import draw_hours, draw_published
from prime_core.report.tables.collect import RunTables

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class Figure:
    """One figure: its file name, its title, how to read it, what is drawn.

    needs_prm: it would stay empty in a run with outcome rewards only; needs_values: in one that is
    not PPO; needs_trees: in one whose responses do not fork; needs_continuations: in one without
    Monte-Carlo values; needs_slurm: in a run whose jobs Slurm has not accounted for; needs_twin: in
    a run whose benchmarks have no published figure; needs_steps: in one without evaluation.steps.
    """

    name: str
    section: str
    title: str
    caption: str
    draw: tuple[Panel, ...] | Callable[[Canvas, RunTables], bool]
    height: float = 2.7
    needs_prm: bool = False
    needs_values: bool = False
    needs_trees: bool = False
    needs_continuations: bool = False
    needs_slurm: bool = False
    needs_twin: bool = False
    needs_steps: bool = False


def figure_svg(figure: Figure, run: RunTables) -> str:
    """SVG text of a figure."""
    drawing = figure.draw
    if isinstance(drawing, tuple):
        return render(
            figure.name,
            figure.height,
            lambda canvas: draw_panels(canvas, drawing, run.iterations),
        )
    return render(figure.name, figure.height, lambda canvas: drawing(canvas, run))


# In the order of the page, the figures of a section together: the page joins neighbours only.
FIGURES = (
    Figure(
        "accuracy-held-out",
        "Accuracy",
        "Accuracy on held-out problems",
        "Share of right answers to problems that are never trained on, one line per benchmark. "
        "Bars are 95 % intervals over problems (Wilson's, clustered by problem): two points whose "
        "bars do not overlap differ by more than chance.",
        draw_evaluations,
    ),
    Figure(
        "accuracy-training",
        "Accuracy",
        "Accuracy while sampling for training",
        "Share of right answers among all judged responses, before the prompt filter. The band is "
        "the 95 % interval over prompts. Each iteration draws other prompts, so neighbouring "
        "points scatter by about the width of the band.",
        (Panel("accuracy", {"accuracy": "rollout/accuracy"}, percent=True, bounds=(0, 1)),),
    ),
    Figure(
        "published",
        "Reproduction",
        "Beside the published figures",
        "Accuracy of each benchmark by iteration, with 95 % intervals. The line across is the "
        "published figure and the pale band its own interval; the dotted line is the published "
        "start, squares are published figures of earlier iterations.",
        draw_published,
        needs_twin=True,
    ),
    Figure(
        "accuracy-hours",
        "Reproduction",
        "Accuracy over hours",
        "The same accuracies over what they cost: hours of all iterations until then, without "
        "warm-up and evaluations (GPU-hours where Slurm counted some, else hours of the jobs). Two "
        "runs on similar machines can be compared by it, whatever their iterations cost.",
        draw_hours,
    ),
    Figure(
        "reward-mean",
        "Rewards and PRM",
        "Outcome and implicit reward",
        "Both of the batch that is trained on. Above: mean outcome reward of its responses, after "
        "the prompt filter, which holds it near the middle of its bounds. Below: mean implicit "
        "process reward of a token: it shows where the PRM places its zero, and its sign alone "
        "says nothing about quality.",
        (
            Panel("outcome", {"outcome": "reward/outcome_mean"}, percent=True),
            Panel("token mean", {"implicit": "reward/implicit_mean"}, level=0),
        ),
        needs_prm=True,
    ),
    Figure(
        "reward-by-outcome",
        "Rewards and PRM",
        "Summed reward of correct and incorrect responses",
        "Mean over responses of their summed implicit rewards, which are the PRM's log-odds that "
        "the response is correct. The wider the gap between the lines, the better the PRM "
        "separates the two.",
        (
            Panel(
                "log-odds",
                {"correct": "reward/log_odds_correct", "incorrect": "reward/log_odds_incorrect"},
                level=0,
            ),
        ),
        needs_prm=True,
    ),
    Figure(
        "prm-ranking",
        "Rewards and PRM",
        "PRM ranking accuracy",
        "Share of (correct, incorrect) pairs of responses to one prompt in which the correct one "
        "has the higher summed reward; the band is its 95 % interval over prompts, the dashed line "
        "at 50 % is chance. Accuracy is the share of responses whose log-odds have the right "
        "sign.",
        (
            Panel(
                "share",
                {"pairs ranked correctly": "prm/ranking_accuracy", "accuracy": "prm/accuracy"},
                percent=True,
                bounds=(0, 1),
                level=0.5,
                dashed=frozenset({"accuracy"}),
            ),
        ),
        needs_prm=True,
    ),
    Figure(
        "prm-steps",
        "Rewards and PRM",
        "First wrong steps found by the PRM",
        "F1 of the first wrong step on published solutions, one line per part, with 95 % "
        "bootstrap intervals over solutions. The dotted line of the same colour is what an "
        "outcome alone reaches by pointing at a fixed place: the PRM knows of steps only what "
        "exceeds it.",
        draw_steps,
        needs_prm=True,
        needs_steps=True,
    ),
    Figure(
        "prm-loss",
        "Rewards and PRM",
        "PRM loss",
        "Loss of the PRM's update. For the cross-entropy, the dashed line at 0.693 (ln 2) is a PRM "
        "that cannot tell right from wrong.",
        (Panel("loss", {"loss": "prm/loss"}, level=0.6931),),
        needs_prm=True,
    ),
    Figure(
        "clip-fraction",
        "Policy",
        "Clipped tokens",
        "Share of tokens whose probability ratio left the clip range, so that they gave no "
        "gradient. A few percent are usual; a rising share means that the steps are too large.",
        (
            Panel(
                "clip fraction",
                {"clip fraction": "actor/clip_fraction"},
                percent=True,
                bounds=(0, None),
            ),
        ),
    ),
    Figure(
        "entropy",
        "Policy",
        "Entropy",
        "Mean entropy of the policy's next token, in nats. A slow fall is learning; a fast fall "
        "towards 0 is collapse, after which sampling finds nothing new.",
        (Panel("entropy (nats)", {"entropy": "actor/entropy"}, bounds=(0, None)),),
    ),
    Figure(
        "kl",
        "Policy",
        "KL divergences",
        "From the top, where recorded: sampling policy against the updated one (the size of a "
        "step), policy against the frozen reference (the distance from the start), and sampler "
        "against trainer, which should be rounding only, unless rollout.max_staleness lets an "
        "older policy sample: the bottom panel then shows how many updates older it was. All are "
        "estimates from sampled tokens, so values a little below 0 are noise; an axis spans "
        "0.0001 at least.",
        (
            Panel("update (nats)", {"update": "actor/ppo_kl"}, least=1e-4),
            Panel("reference (nats)", {"reference": "actor/kl_reference"}, least=1e-4),
            Panel("mismatch (nats)", {"mismatch": "actor/mismatch_kl"}, least=1e-4),
            Panel("staleness", {"staleness": "rollout/staleness_mean"}, bounds=(0, None)),
        ),
        height=3.4,
    ),
    Figure(
        "gradient-norm",
        "Policy",
        "Gradient norms",
        "Norm of the gradient before clipping, mean over the iteration's steps. Spikes point to "
        "single bad batches.",
        (
            Panel("policy", {"policy": "actor/grad_norm"}, bounds=(0, None)),
            Panel("PRM", {"PRM": "prm/grad_norm"}, bounds=(0, None)),
        ),
    ),
    Figure(
        "values",
        "Policy",
        "Values (PPO)",
        "Above: explained variance, the share of the returns' variance that the values predict; 0 "
        "is no better than a constant, below 0 is worse. In the middle: loss of the value model. "
        "Below: share of tokens whose value moved further than value.cliprange_value in one "
        "update.",
        (
            Panel("explained", {"explained variance": "critic/explained_variance"}, level=0),
            Panel("loss", {"loss": "critic/vf_loss"}, bounds=(0, None)),
            Panel(
                "clipped", {"clipped": "critic/vf_clip_fraction"}, percent=True, bounds=(0, None)
            ),
        ),
        height=3.4,
        needs_values=True,
    ),
    Figure(
        "step-values",
        "Policy",
        "Monte-Carlo values of steps",
        "Above: mean value of the states between steps, the share of their continuations that were "
        "right. In the middle: steps of a response; where it is 1, values are of prompts alone. "
        "Below: what the values cost, tokens of continuations for each token of the responses that "
        "were trained on.",
        (
            Panel("value", {"value": "step_values/value_mean"}, bounds=(0, 1)),
            Panel("steps", {"steps": "step_values/steps_mean"}, bounds=(0, None)),
            Panel("token ratio", {"token ratio": "step_values/token_ratio"}, bounds=(0, None)),
        ),
        height=3.4,
        needs_continuations=True,
    ),
    Figure(
        "response-length",
        "Sampling and filter",
        "Response length",
        "Above: mean tokens of a response. Below: share of responses that were cut off at the "
        "length limit. Where both rise, the limit holds the policy back.",
        (
            Panel("tokens", {"tokens": "rollout/response_length_mean"}, bounds=(0, None)),
            Panel("cut off", {"cut off": "rollout/clip_ratio"}, percent=True, bounds=(0, None)),
        ),
    ),
    Figure(
        "trees",
        "Sampling and filter",
        "Trees",
        "Above: responses of a prompt that forked from another. Below: tokens that were sampled, "
        "as a share of all tokens of the responses, which have shared ones each for itself; and "
        "where forks lie, as a share of the response.",
        (
            Panel("forks", {"forks of a prompt": "tree/num_forks_mean"}, bounds=(0, None)),
            Panel(
                "share",
                {"sampled tokens": "tree/own_share", "before the fork": "tree/fork_position_mean"},
                percent=True,
                bounds=(0, None),
            ),
        ),
        needs_trees=True,
    ),
    Figure(
        "filter",
        "Sampling and filter",
        "Prompt filter",
        "Share of prompts kept for training, and of those whose responses were all right (too "
        "easy) or all wrong (too hard). Batch fill is the share of the wanted batch that was "
        "filled: below 100 % an iteration learnt from less.",
        (
            Panel(
                "share of prompts",
                {
                    "kept": "filter/kept_share",
                    "all right": "filter/share_all_correct",
                    "all wrong": "filter/share_all_wrong",
                    "batch fill": "filter/batch_fill",
                },
                percent=True,
                bounds=(0, None),
                dashed=frozenset({"batch fill"}),
            ),
        ),
    ),
    Figure(
        "seconds",
        "Time",
        "Seconds of each iteration",
        "Seconds of all jobs of an iteration, added up over shards and stacked by stage; what runs "
        "before the first iteration is left out. On several nodes jobs run side by side, so an "
        "iteration takes less than its column.",
        draw_seconds,
    ),
    Figure(
        "seconds-share",
        "Time",
        "Share of each stage",
        "Share of each stage in the seconds of all jobs. The pale part is start-up: interpreter, "
        "imports, reading tables and loading models, before and after the stage's own work. A "
        "stage without its own clock has no pale part.",
        draw_shares,
    ),
    Figure(
        "cost",
        "Cost",
        "Hours and waiting of each iteration",
        "Above: GPU-hours that Slurm counts for an iteration's jobs, stacked by stage; CPU-hours "
        "where no job held a GPU. Grey is lost: jobs that failed, ran out of time or were "
        "cancelled or requeued, and work that was done again later. Below: how long jobs waited "
        "in the queue, the longest wait of each stage added up over the stages.",
        draw_cost,
        height=3.4,
        needs_slurm=True,
    ),
)
