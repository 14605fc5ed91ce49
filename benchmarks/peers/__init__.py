"""This project beside another library on the same work, in one run on one machine."""
