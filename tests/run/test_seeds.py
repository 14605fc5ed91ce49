"""Random numbers depend on the run's seed and on the name of their use, on nothing else."""

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prime_core.run.seeds import derive_seed, generator
from tests.support.batches import seeds

names = st.lists(st.one_of(st.integers(0, 999), st.text("abc-", min_size=1)), max_size=4)


def test_a_seed_is_the_same_on_every_machine_and_in_every_version():
    assert derive_seed(0, "sample", 1, "train-000000", 0) == 1785175906726935670


def test_a_seed_does_not_depend_on_the_process():
    program = "from prime_core.run.seeds import derive_seed; print(derive_seed(3, 'policy', 7))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(done.stdout) == derive_seed(3, "policy", 7)


@given(seeds, names)
def test_seeds_are_non_negative_numbers_of_63_bits(seed, names):
    assert 0 <= derive_seed(seed, *names) < 2**63


@given(seeds, names, names)
def test_different_names_give_different_seeds(seed, names, others):
    texts, other_texts = [str(n) for n in names], [str(n) for n in others]
    same = derive_seed(seed, *names) == derive_seed(seed, *others)
    assert same == (texts == other_texts)


def test_names_do_not_run_into_each_other():
    ways: list[list[str | int]] = [["a", "bc"], ["ab", "c"], ["abc"], ["a", "b", "c"], [1, 2]]
    assert len({derive_seed(0, *names) for names in ways}) == len(ways)


def test_a_generator_repeats_and_another_use_draws_other_numbers():
    first, again, other = (generator(0, "prm", i).random(8) for i in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.intersect1d(first, other).size


def test_numbers_of_neighbouring_uses_look_uniform_and_uncorrelated():
    draws = np.stack([generator(0, "sample", i).random(2000) for i in range(20)])
    assert abs(float(draws.mean()) - 0.5) < 0.005
    correlations = np.abs(np.corrcoef(draws) - np.eye(20))
    assert float(correlations.max()) < 0.1
