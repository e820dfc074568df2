"""The peers of the benchmark: each serves one file, `MNT/pages`, with the bytes of another, as plainly as its library
lets it: `PROGRAM MNT FILE [LOG]`, in the foreground. With LOG each read is a line in it.
"""
