"""What tests of the running system are made of."""
