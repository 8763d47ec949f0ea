"""The published limits of Pub/Sub that a publisher must keep, asserted together.

Source: "Quotas and limits" of Pub/Sub's documentation and the comments of google/pubsub/v1/pubsub.proto.
"""

MESSAGES_PER_REQUEST_MAX = 1000  # Publish
REQUEST_BYTES_MAX = 10_000_000  # Publish; a message alone may have as many
ORDERING_KEY_BYTES_MAX = 1024
ATTRIBUTE_KEY_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX = 256, 1024
ORDERING_KEY_BYTES_PER_SECOND = 1_000_000  # publish throughput of one key
REQUEST_BYTES_AIMED = 1 << 20
"""So many cost no more a byte than ten times as many, and are acknowledged sooner."""
MESSAGE_BYTES_SET_MAX = 9_000_000  # pubsub.message_bytes_max

assert REQUEST_BYTES_AIMED < MESSAGE_BYTES_SET_MAX < REQUEST_BYTES_MAX, (
    "a message and its names fit a request"
)
