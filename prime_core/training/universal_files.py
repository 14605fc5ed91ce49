"""The files of a universal checkpoint, as all ZeRO stages read and write them.

    <tag>/zero/<weight>/{fp32,exp_avg,exp_avg_sq,step}.pt     one weight, whole
    <tag>/zero/optimizer_state.pt                             what all weights share
    <tag>/mp_rank_00_model_states.pt                          steps, schedule, what a caller saved
    <tag>/zero_pp_rank_0_mp_rank_00_model_states.pt           the same, by the name of ZeRO-3

DeepSpeed's converter writes what the loader of the same stage reads; here both loaders' keys are
filled in. DeepSpeed neither converts nor loads ZeRO 0, so its single file is split and rebuilt
here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

WHOLE_MODEL = "mp_rank_00_model_states.pt"
CUT_MODEL = "zero_pp_rank_0_mp_rank_00_model_states.pt"
_SHARED = "optimizer_state.pt"
_MOMENTS = ("exp_avg", "exp_avg_sq")

# Trained weights by name, in the order of the optimizer.
Shapes = dict[str, torch.Size]


def complete_for_all_stages(folder: Path) -> None:
    """Complete what DeepSpeed's converter wrote of a state of ZeRO 1, 2 or 3."""
    shared = _load(folder / "zero" / _SHARED)
    if (folder / CUT_MODEL).exists():
        # The converter writes ZeRO-3's step once; stages 1 and 2 look for it beside each weight.
        step = shared["optimizer_state_dict"]["state"][0]["step"]
        for weight in (folder / "zero").iterdir():
            if weight.is_dir():
                for file in weight.iterdir():
                    # Stages 1 and 2 look for this key; stage 3 takes both forms.
                    torch.save({"param": _load(file)}, file)
                torch.save(step, weight / "step.pt")
        (folder / WHOLE_MODEL).symlink_to(CUT_MODEL)
    else:
        step = _load(next((folder / "zero").glob("*/step.pt")))
        (folder / CUT_MODEL).symlink_to(WHOLE_MODEL)
    _save_shared(folder, shared, shared["param_groups"], step)


def split_by_weight(saved: Path, folder: Path, shapes: Shapes) -> None:
    """Convert a state of ZeRO 0 to a universal checkpoint."""
    state = _load(saved / WHOLE_MODEL)
    module, optimizer = state.pop("module"), state.pop("optimizer")
    step = torch.zeros(())
    for index, name in enumerate(shapes):
        weight, moments = folder / "zero" / name, optimizer["state"][index]
        weight.mkdir(parents=True)
        step = moments["step"]
        torch.save(step, weight / "step.pt")
        for key, tensor in {
            # Float32 already: bfloat16 is refused at stage 0, which keeps no such copy.
            "fp32": module[name],
            **{key: moments[key] for key in _MOMENTS},
        }.items():
            torch.save({"param": tensor}, weight / f"{key}.pt")
    torch.save(state, folder / WHOLE_MODEL)
    (folder / CUT_MODEL).symlink_to(WHOLE_MODEL)
    scaling = {"dynamic_loss_scale": False, "overflow": False}
    _save_shared(folder, scaling, optimizer["param_groups"], step)


def join_weights(folder: Path, shapes: Shapes) -> None:
    """Convert a universal checkpoint to a state of ZeRO 0."""
    module: dict[str, torch.Tensor] = {}
    states: dict[int, dict[str, torch.Tensor]] = {}
    for index, (name, shape) in enumerate(shapes.items()):
        weight = folder / "zero" / name
        whole = {
            key: _load(weight / f"{key}.pt")["param"].view(shape) for key in ("fp32", *_MOMENTS)
        }
        module[name] = whole.pop("fp32")
        states[index] = {"step": _load(weight / "step.pt"), **whole}
    group = _load(folder / "zero" / _SHARED)["param_groups"][0]
    optimizer = {"state": states, "param_groups": [group | {"params": list(states)}]}
    state = _load(folder / WHOLE_MODEL) | {"module": module, "optimizer": optimizer}
    # It may be a link to CUT_MODEL, through which torch.save would write.
    (folder / WHOLE_MODEL).unlink()
    torch.save(state, folder / WHOLE_MODEL)


def _save_shared(folder: Path, shared: dict[str, Any], groups: Any, step: torch.Tensor) -> None:
    """ZeRO 1 and 2 read param_groups and ds_version, ZeRO 3 optimizer_state_dict."""
    from deepspeed import __version__

    scaling = ("loss_scaler", "dynamic_loss_scale", "overflow")
    values = {key: shared[key] for key in scaling if key in shared}
    optimizer = {"state": {0: {"step": step}}, "param_groups": groups}
    values |= {"ds_version": __version__, "param_groups": groups, "optimizer_state_dict": optimizer}
    torch.save(values, folder / "zero" / _SHARED)


def _load(path: Path) -> Any:
    # Of DeepSpeed's own objects in it only the loss scaler and the like (training/state_files.py).
    return torch.load(path, map_location="cpu", weights_only=True)
