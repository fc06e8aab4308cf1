"""Whether a history is right: the linearizability checker and its fast cases."""
