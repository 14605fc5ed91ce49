"""One thread a process for the libraries that compute: what Snakemake sets for a rule's job."""

ONE_THREAD = {
    f"{library}_NUM_THREADS": "1"
    for library in ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR", "VECLIB")
}
