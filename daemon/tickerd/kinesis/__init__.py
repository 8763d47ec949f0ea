"""Amazon Kinesis Data Streams as a destination: shards, calls, delivery and the client of the hot call."""
