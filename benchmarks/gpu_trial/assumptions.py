"""What the parts found, as the plan's assumptions (prime_core.planning.hardware.Assumptions).

In: figures by part. Out: values that take the place of the assumed ones, and notes in words where
one is not simply what was measured.
"""

from __future__ import annotations

from typing import Any

from benchmarks.gpu_trial.trial import Trial

UPDATES = tuple(f"{kind}-zero{stage}" for kind in ("policy", "prm") for stage in (2, 3, 1))


def measured_assumptions(
    trial: Trial, found: dict[str, dict[str, Any]]
) -> tuple[dict[str, float], list[str]]:
    """Values by name, those that were measured alone; and notes."""
    values: dict[str, float] = {}
    notes: list[str] = []
    start, files, disk = (found.get(name, {}) for name in ("start", "files", "disk"))
    values |= {name: start[name] for name in ("start_s", "host_gib") if name in start}
    updates = [found[name] for name in UPDATES if "mfu" in found.get(name, {})]
    if updates:
        # Of all updates together, each FLOP weighing the same: the plan has one figure for both.
        seconds = sum(one["step_s"] for one in updates)
        flops = sum(one["flops"] for one in updates)
        rate = trial.num_ranks * trial.figures.tflops * 1e12
        values["training_mfu"] = share(flops / seconds / rate, "training_mfu", notes)
    reserves = [one["reserve_share"] for one in updates if "reserve_share" in one]
    if reserves:
        values["reserve_share"] = max(reserves)
    if "memory_gb_per_s" in files:
        values["host_gbs"] = files["memory_gb_per_s"]
    if "write_gb_per_s" in disk:
        # One figure for both ways: a byte written and read takes as long as with the two.
        values["disk_gb_per_s"] = 2 / (1 / disk["write_gb_per_s"] + 1 / disk["read_gb_per_s"])
    values |= moved(found.get("offload-reload", {}))
    return values | sampling(trial, found, notes) | offloaded(trial, found), notes


def sampling(trial: Trial, found: dict[str, dict[str, Any]], notes: list[str]) -> dict[str, float]:
    """Bandwidth and overhead of a step, from vLLM's steps where it ran, else transformers'."""
    name = next((one for one in ("vllm", "transformers") if "points" in found.get(one, {})), None)
    if name is None:
        return {}
    few, many = found[name]["points"]
    bandwidth = trial.figures.gb_per_s * 1e9
    slope = (many["step_s"] - few["step_s"]) / (many["bytes"] - few["bytes"])
    overhead = few["step_s"] - few["bytes"] * slope
    # A line through both points; where it is none that the plan's formula could draw, bytes alone.
    if slope <= 0 or overhead < 0:
        notes.append(
            f"{name}: its two points are on no line; step_ms is 0, bandwidth_share of both"
        )
        slope = (few["step_s"] + many["step_s"]) / (few["bytes"] + many["bytes"])
        overhead = 0.0
    values = {
        "bandwidth_share": share(1 / (slope * bandwidth), "bandwidth_share", notes),
        "step_ms": 1000 * overhead,
    }
    notes.append(f"bandwidth_share and step_ms are of sampling by {name}")
    if "engine_s" in found.get("vllm", {}):
        values["engine_s"] = found["vllm"]["engine_s"]
    return values


def moved(found: dict[str, Any]) -> dict[str, float]:
    """GB/s at which a trainer leaves its GPU, and comes back; nothing where there is no GPU."""
    if not found.get("freed_gib"):
        return {}
    gb = found["freed_gib"] * 2**30 / 1e9
    return {"offload_gbs": gb / found["offload_s"], "reload_gbs": gb / found["reload_s"]}


def offloaded(trial: Trial, found: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Nanoseconds a parameter that a step takes longer with its optimizer on the host."""
    plain, host = (found.get(name, {}) for name in ("policy-zero2", "policy-offloaded"))
    if "step_s" not in plain or "step_s" not in host:
        return {}
    more = max(host["step_s"] - plain["step_s"], 0.0)
    return {"offload_ns": 1e9 * more * trial.num_ranks / trial.shape.num_parameters}


def share(value: float, name: str, notes: list[str]) -> float:
    """A share of at most 1; more says that the plan's figures of the GPU are too low."""
    if value > 1:
        notes.append(
            f"{name} was {value:.2f}, above what the plan's table gives this GPU: taken as 1"
        )
    return min(value, 1.0)
