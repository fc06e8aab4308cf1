"""The words that all processes of one server share, and what they mean."""
