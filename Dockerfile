# PRIME on Slurm for GPUs, from the lock: `docker build -t prime .`, then
# `docker run --gpus all --shm-size 16g -v "$PWD/results:/prime/results" prime snakemake`.
# The host brings the driver (580 or later) and NVIDIA's container toolkit; CUDA 13 comes with torch.
# Nothing here was built by the project's tests, which have no container engine: they check the syntax.
FROM python:3.13-slim-bookworm

# A compiler for the kernels that vLLM and triton make as they run, bubblewrap for programs that a
# model wrote, git for the commit in a run's provenance. Their versions are those of the base image's
# release: Debian keeps no older ones.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap g++ gcc git libc6-dev make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /prime
# The lock alone first: another line of code then needs no other download.
COPY locks locks
RUN pip install --no-cache-dir --no-deps --requirement locks/gpu.txt
COPY . .
RUN pip install --no-cache-dir --no-deps --editable .

# Where hub models are kept: mount a folder here to keep them between containers.
ENV HF_HOME=/prime/models
CMD ["prime", "--help"]
