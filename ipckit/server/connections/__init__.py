"""One client: its stream or datagrams, its TLS, its files, its hand-over to a successor."""
