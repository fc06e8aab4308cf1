"""Addresses: bound, listened to, or inherited from systemd."""
