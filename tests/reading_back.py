"""What a stream of `tickerd local` holds, read by plain requests: of records that are entries."""

import base64
import json
from typing import Any

from daemon import Stream

Records = list[dict[str, Any]]


def stored(stream: Stream) -> dict[str, Records]:
    """The distinct JSON records of a stream by source, in the order of seq."""
    sources: dict[str, dict[int, dict[str, Any]]] = {}
    for shard in stream.local.call("ListShards", StreamName=stream.name)["Shards"]:
        iterator = stream.local.call(
            "GetShardIterator",
            StreamName=stream.name,
            ShardId=shard["ShardId"],
            ShardIteratorType="TRIM_HORIZON",
        )["ShardIterator"]
        while iterator:
            page = stream.local.call("GetRecords", ShardIterator=iterator, Limit=10_000)
            for entry in page["Records"]:
                record = json.loads(base64.b64decode(entry["Data"]))
                sources.setdefault(record["source"], {})[record["seq"]] = record
            iterator = (
                page.get("NextShardIterator") if page["MillisBehindLatest"] or page["Records"] else None
            )
    return {name: [found[seq] for seq in sorted(found)] for name, found in sources.items()}
