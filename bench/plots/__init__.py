"""Curves, and their pictures for the pages."""
