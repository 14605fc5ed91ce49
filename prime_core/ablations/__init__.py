"""Many runs: how they differ, how they are started and compared, one page of results."""
