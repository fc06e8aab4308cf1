"""What a server under failures stands in: a network, places of a changing size, time to answer."""
