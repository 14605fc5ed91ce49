"""Many runs: what differs between them, starting, comparing, one page of results."""
