"""Frames between the processes of one server."""
