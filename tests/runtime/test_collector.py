"""The collector of reference cycles is paused for imports alone."""

import gc

import pytest

from prime_core.runtime.collector import collector_paused


def test_it_is_back_whatever_happens_within():
    def import_what_is_not_there():
        with collector_paused():
            assert not gc.isenabled()
            raise ImportError

    with pytest.raises(ImportError):
        import_what_is_not_there()
    assert gc.isenabled()
