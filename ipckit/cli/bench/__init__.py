"""`ipckit bench`: the command, its subjects, their peers, and how two figures are compared."""
