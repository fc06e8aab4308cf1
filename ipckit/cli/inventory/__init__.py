"""What there is of inter-process objects on this machine, whose it is, and whether it is used.

`entry.py` has the words and the judgement (pure), `kernel.py` reads the kernel's lists,
`processes.py` which process uses what, `collect.py` puts them together.
"""
