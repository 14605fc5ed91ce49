"""Bytes of all tensors that are alive, by torch's own accounting: what a plan is compared with."""

import gc
import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


def live_tensors() -> dict[int, torch.UntypedStorage]:
    """Storages that some tensor of Python's holds, or that are a tensor's gradient."""
    gc.collect()
    tensors = [found for found in gc.get_objects() if issubclass(type(found), torch.Tensor)]
    leaves = [tensor for tensor in tensors if tensor.requires_grad and tensor.is_leaf]
    tensors += [leaf.grad for leaf in leaves if leaf.grad is not None]  # torch alone may hold them
    storages = [tensor.untyped_storage() for tensor in tensors if tensor.device.type == "cpu"]
    return {storage._cdata: storage for storage in storages}


def live_bytes() -> int:
    """Their bytes, each storage once."""
    return sum(storage.nbytes() for storage in live_tensors().values())


class LiveMemory(TorchDispatchMode):
    """Follows what operators allocate from now on: bytes that live, and the most of them."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.most = 0
        # Kept, so that no new storage gets the place of one of these.
        self._before = live_tensors()
        self._new: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, lambda tensor: self._see(tensor.untyped_storage()), result)
        return result

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._before or key in self._new:
            return
        self._new[key] = size
        self.live += size
        self.most = max(self.most, self.live)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self.live -= self._new.pop(key, 0)
