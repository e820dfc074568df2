"""Evidence beyond the requests: what the kernel tells of page faults and of its page cache."""
