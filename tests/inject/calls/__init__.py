"""Failures of the calls of primitives, without a server."""
