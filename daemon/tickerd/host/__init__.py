"""What runs tickerd on a host: the service manager, the instance's metadata, the autoscaling group."""
