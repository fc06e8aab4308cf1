"""What a server asks of the kernel, how that is undone, and what a refusal means."""
