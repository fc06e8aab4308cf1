"""Settings, events, and the user that processes become."""
