"""What runs inside the sandbox: standard library only, importing nothing else of the project."""
