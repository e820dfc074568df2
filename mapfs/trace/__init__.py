"""What happened: the ring that pagers write, the recorder that drains it, the trace that it leaves."""
