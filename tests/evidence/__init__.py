"""Evidence beyond the requests, against the kernel's own word."""
