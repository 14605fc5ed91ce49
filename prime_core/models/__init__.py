"""A folder or file becomes a model and a tokenizer."""
