"""`prime export`: a model of a run as a folder, or a repository of the hub, that others can use."""
