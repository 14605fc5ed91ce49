"""A site: its partitions and accounts, and what each stage asks of them."""
