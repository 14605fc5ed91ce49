"""The files of a run become tables of figures."""
