"""The library that is preloaded into a server, and its control page."""
