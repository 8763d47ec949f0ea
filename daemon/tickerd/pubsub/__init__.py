"""Google Cloud Pub/Sub as a destination, by gRPC with hand-written messages. Needs `tickerd[pubsub]`."""
