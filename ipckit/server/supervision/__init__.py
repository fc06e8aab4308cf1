"""The manager: forks processes, watches them, replaces them, ends them."""
