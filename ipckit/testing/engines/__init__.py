"""The three ways to run a program: `real`, `stepped` and `ptrace`."""
