"""What people and machines see of a running host: counters and log lines."""
