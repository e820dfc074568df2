"""What the mount lists: nodes with inode numbers, fixed and mirrored directories, the control directory."""
