"""A machine with a real systemd to test the units on."""
