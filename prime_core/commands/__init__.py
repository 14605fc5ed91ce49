"""Groups of commands of `prime`, beside those in `prime_core.cli.main`."""
