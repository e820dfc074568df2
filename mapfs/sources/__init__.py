"""What a file is made of. `base` has the contract; each other module is one kind; `catalogue` reads specs."""
