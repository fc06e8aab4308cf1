"""One client: its stream or datagrams, its TLS, its files, its handover to a successor."""
