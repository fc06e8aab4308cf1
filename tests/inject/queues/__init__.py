"""Failures of the calls of queues and channels, without a server."""
