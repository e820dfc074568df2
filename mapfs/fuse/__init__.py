"""The kernel's side: the wire, the device, the link to libfuse, the pagers, pyfuse3's operations, the daemon."""
