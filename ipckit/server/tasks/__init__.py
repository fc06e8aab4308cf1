"""One task: stored, submitted, run, retried, buried, and its result delivered."""
