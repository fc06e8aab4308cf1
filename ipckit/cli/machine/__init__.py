"""What the kernel of this machine allows, and what is wrong with it, for `limits` and `doctor`.

`facts.py` reads, `limits.py` compares with what settings need (pure), `checks.py` looks for all
else that could be wrong.
"""
