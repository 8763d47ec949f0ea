"""The published limits of Kinesis Data Streams that a producer must keep, asserted together.

Source: "Quotas and limits" of the developer guide and the PutRecords page of the API reference.
"""

ENTRIES_PER_CALL_MAX = 500  # PutRecords
CALL_BYTES_MAX = 10 * 1024 * 1024  # PutRecords: data and partition keys, before base64
ENTRY_BYTES_MAX_DEFAULT = 1024 * 1024  # data and key; MaxRecordSizeInKiB may allow ten times it
PARTITION_KEY_CHARACTERS_MAX = 256
SHARD_ENTRIES_PER_SECOND = 1000
SHARD_BYTES_PER_SECOND = 1024 * 1024
HASH_KEY_END = 2**128  # hash keys are MD5 sums read as big-endian integers: 0 to this less one

assert ENTRY_BYTES_MAX_DEFAULT <= CALL_BYTES_MAX, "an entry of the largest size must fit a call"
assert ENTRIES_PER_CALL_MAX <= SHARD_ENTRIES_PER_SECOND, "a full call must fit one shard's second"
