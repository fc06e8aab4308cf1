"""The search for a program that fails, and its report: drawing, shrinking, saving, replaying."""
