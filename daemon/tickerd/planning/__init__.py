"""`tickerd plan`: shards, hosts and monthly cost for a wanted rate."""
