"""The files of a run, and what a dead run left."""
