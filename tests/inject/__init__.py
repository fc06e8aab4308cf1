"""The second enemy of the server: every system call that can fail, made to fail. See __main__.py."""
