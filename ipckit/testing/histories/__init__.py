"""What was seen: the operations and events of a run, as data, text and a page."""
