"""Models, ranks, padded batches, log-probabilities and the DeepSpeed engine."""
