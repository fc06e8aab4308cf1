"""Objects over a shared queue. The names are in ipckit.queue."""
