"""The roles of the manager's children, and what every child inherits."""
