"""`ipckit demo`: the command, the server that it starts, and the mails."""
