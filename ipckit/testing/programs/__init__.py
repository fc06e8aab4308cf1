"""What is to be done: the calls of a run, its faults, and when each of them happens."""
