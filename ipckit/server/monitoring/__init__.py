"""A server seen from outside: statistics, the live view, the control socket."""
