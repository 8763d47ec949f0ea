"""Google Cloud Pub/Sub as a destination, by gRPC with hand-written messages. Needs `tickerd[pubsub]`."""

from tickerd.config import quiet_grpc

quiet_grpc()  # before it is imported
