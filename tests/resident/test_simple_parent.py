"""What the resident process must never do: each is noticed before a child is forked."""

import os
import subprocess
import sys
import threading

import pytest
import torch

from prime_core.resident import server


def test_a_thread_is_noticed():
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        with pytest.raises(server.CannotFork, match="thread"):
            server.require_simple(server.number_of_threads())
    finally:
        done.set()
        thread.join()


@pytest.mark.usefixtures("one_thread")
def test_threads_of_a_library_are_noticed():
    with pytest.raises(server.CannotFork, match="library has started threads"):
        server.require_simple(server.number_of_threads() - 1)


@pytest.fixture
def one_thread(monkeypatch):
    """Other tests may have left a thread that waits."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)


@pytest.mark.usefixtures("one_rank", "one_thread")
def test_a_process_group_is_noticed():
    with pytest.raises(server.CannotFork, match="process group"):
        server.require_simple(server.number_of_threads())


@pytest.mark.usefixtures("one_thread")
def test_cuda_is_noticed(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(server.CannotFork, match="CUDA"):
        server.require_simple(server.number_of_threads())


def test_a_used_thread_pool_is_noticed_by_the_first_child():
    code = (
        "import torch\n"
        "from prime_core.resident import server\n"
        "server._SECONDS_FOR_THE_FIRST_FORK = 5\n"
        "server.require_working_forks()\n"
        "print('simple', flush=True)\n"
        "torch.ones(512, 512) @ torch.ones(512, 512)\n"
        "torch.ones(10**6).exp()\n"
        "server.require_working_forks()\n"
    )
    variables = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )
    assert done.stdout == "simple\n"
    assert "CannotFork: a first child did not come back" in done.stderr
