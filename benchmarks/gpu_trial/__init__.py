"""Eight minutes on a machine with GPUs: what they really do, for `prime plan --measured`."""
