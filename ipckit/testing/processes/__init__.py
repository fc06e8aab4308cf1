"""The processes of a run: both sides of each, their shared log, and whether they make progress."""
