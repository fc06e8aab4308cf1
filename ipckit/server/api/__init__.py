"""What a program calls: the `Server` object, and the loader of `ipckit run`."""
