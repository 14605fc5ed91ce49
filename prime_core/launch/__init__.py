"""Starting the workflow."""
