"""How a run stands: progress, logs, its processes; ending them."""
