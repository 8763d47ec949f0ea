"""Every setting there is: its type, unit, default, bounds and what it means, as one frozen tree.

The tree is the contract's: sections in its order, the unit as the last word of a name. Where the values come
from and how they are checked is config.py's business; nothing here reads a file or the environment.
"""

from typing import Annotated, Literal

from msgspec import Struct

from tickerd.about import (
    About,
    is_endpoint,
    is_grpc_endpoint,
    is_in_thousandths,
    is_listen_address,
    looks_like,
)

RECORDS_PER_SECOND_MAX = 100_000_000
BYTES_MAX = 1 << 40
DAY_S = 86_400
RESOURCE_NAME = r"(?!goog)[A-Za-z][A-Za-z0-9._~+%-]{2,254}"  # of Pub/Sub


RecordsPerSecond = Annotated[
    float,
    About(
        "records per second of this host",
        0,
        RECORDS_PER_SECOND_MAX,
        "records/s",
        f"a number from 0 to {RECORDS_PER_SECOND_MAX} in steps of 0.001 (records/s)",
        is_in_thousandths,
    ),
]
Weight = Annotated[float, About("weight of the feed in the mix", 0, 1_000_000)]


class Source(Struct, frozen=True):
    """Who generates: the host's name in `source`, and its worker processes."""

    id: Annotated[
        str,
        About(
            "this host's name in `source`; empty: the EC2 instance id, else the host name",
            right="up to 64 letters, digits, '.', '_' and '-', beginning with a letter or digit, or empty",
            valid=looks_like(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63})?"),
        ),
    ] = ""
    workers: Annotated[
        Literal["auto"] | int,
        About("worker processes; auto: the smaller of CPU affinity and cgroup quota", 1, 1024),
    ] = "auto"
    drain_max_s: Annotated[int, About("longest time that stopping may take", 0, 3600, "s")] = 60


class Market(Struct, frozen=True):
    """Which market is computed."""

    seed: Annotated[int, About("the same seed is the same market everywhere", 0, 2**63 - 1)] = 1
    universe: Annotated[
        str,
        About(
            "the catalogue of instruments",
            right='"default", "large" (5,000 stocks) or a directory with CSV files of your own',
            valid=looks_like(".+"),
        ),
    ] = "default"
    hours: Annotated[
        Literal["continuous", "market"], About("whether feeds pause while their market is closed")
    ] = "continuous"


class Mix(Struct, frozen=True):
    """Weights of the feeds; only their proportion counts."""

    forex: Weight = 0.3
    stock: Weight = 0.65
    news: Weight = 0.05

    @property
    def weights(self) -> tuple[float, float, float]:
        """The weights in the order of `records.FEEDS`."""
        return (self.forex, self.stock, self.news)


class RateStage(Struct, frozen=True):
    """A ramp to a rate, in steps of one second."""

    for_s: Annotated[int, About("how long the ramp takes", 1, 366 * DAY_S, "s")]
    records_per_second: RecordsPerSecond

    @property
    def milli_records_per_second(self) -> int:
        """The rate at the end of the ramp, in the whole unit of the schedule."""
        return round(self.records_per_second * 1000)


class Rate(Struct, frozen=True):
    """How many records, of which feeds, and what happens when they are late."""

    records_per_second: RecordsPerSecond = 1000
    mix: Mix = Mix()
    mode: Annotated[
        Literal["stream", "snapshot"],
        About("a steady stream, or one record of every instrument each `every_s`"),
    ] = "stream"
    every_s: Annotated[int, About("time between two snapshots", 1, DAY_S, "s")] = 60
    stages: Annotated[
        tuple[RateStage, ...],
        About(
            "ramps that follow each other; the last rate holds",
            right="a list of up to 1000 tables { for_s = 60, records_per_second = 5000 }",
            valid=lambda stages: len(stages) <= 1000,
        ),
    ] = ()
    catch_up_max_s: Annotated[int, About("frames not begun that are older are skipped", 1, DAY_S, "s")] = 300
    catch_up_factor: Annotated[float, About("catching up runs at up to so many times the rate", 1, 100)] = 2
    fleet_records_per_second: Annotated[
        float,
        About(
            "rate of all hosts, shared by the group's desired capacity; 0: off",
            0,
            10 * RECORDS_PER_SECOND_MAX,
            "records/s",
        ),
    ] = 0

    @property
    def milli_records_per_second(self) -> int:
        """The host's rate in the whole unit of the schedule."""
        return round(self.records_per_second * 1000)


class RecordFormat(Struct, frozen=True):
    """How a record is written."""

    format: Annotated[Literal["json", "msgpack"], About("encoding of a record")] = "json"


class Destination(Struct, frozen=True):
    """Where records go."""

    kind: Annotated[
        Literal["kinesis", "pubsub", "file", "stdout", "null"], About("where records are delivered")
    ] = "kinesis"


class Kinesis(Struct, frozen=True):
    """Delivery to Amazon Kinesis Data Streams."""

    stream: Annotated[
        str,
        About(
            "the stream",
            right="a stream's name (1 to 128 letters, digits, '.', '_' and '-') or its ARN",
            valid=looks_like(r"(arn:aws[a-z-]*:kinesis:[a-z0-9-]+:[0-9]{12}:stream/)?[A-Za-z0-9._-]{1,128}"),
        ),
    ] = "market-log"
    region: Annotated[
        str,
        About(
            "the stream's region; empty: from the AWS configuration",
            right='a region such as "eu-central-1", or empty',
            valid=looks_like(r"([a-z0-9][a-z0-9-]{0,31})?"),
        ),
    ] = ""
    endpoint_url: Annotated[
        str,
        About(
            "another endpoint than the region's own, such as an emulator's",
            right='a URL such as "http://127.0.0.1:4567", or empty',
            valid=is_endpoint,
        ),
    ] = ""
    role_arn: Annotated[
        str,
        About(
            "a role to assume",
            right='"arn:aws:iam::<account>:role/<name>", or empty',
            valid=looks_like(r"(arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]{1,576})?"),
        ),
    ] = ""
    aggregation: Annotated[
        Literal["none", "kpl", "lines"],
        About("what an entry holds: one record, an aggregate in KPL format, or lines"),
    ] = "none"
    order: Annotated[
        Literal["relaxed", "key"], About("whether a retried entry may arrive after a younger one")
    ] = "relaxed"
    partition_key: Annotated[
        Literal["instrument", "even"], About("one shard an instrument, or all shards filled alike")
    ] = "instrument"
    linger_ms: Annotated[
        int, About("how long aggregates and unfilled calls wait to be filled", 1, 10_000, "ms")
    ] = 250
    aggregate_bytes_max: Annotated[int, About("largest aggregate", 1024, 10 * 1_048_576, "bytes")] = 51_200
    request: Annotated[Literal["json", "cbor"], About("encoding of the request")] = "json"
    shard_limits: Annotated[bool, About("keep the published ceilings of a shard")] = True
    calls_in_flight_max: Annotated[
        int,
        About(
            "calls that a worker has under way, of 192 KiB in the mean: fewer large ones", 1, 1024, "calls"
        ),
    ] = 32
    backlog_bytes_max: Annotated[
        int, About("unacknowledged bytes of a worker, above which it waits", 10 << 20, BYTES_MAX, "bytes")
    ] = 64 << 20


class PubSub(Struct, frozen=True):
    """Delivery to Google Cloud Pub/Sub."""

    project: Annotated[
        str,
        About(
            "the project; empty: that of the credentials",
            right='a project\'s id such as "market-123456", or empty',
            valid=looks_like(r"([a-z][a-z0-9.:-]{0,62})?"),
        ),
    ] = ""
    topic: Annotated[
        str,
        About(
            "the topic",
            right='a topic\'s name: 3 to 255 letters, digits and any of -_.~+%, a letter first, not "goog"',
            valid=looks_like(RESOURCE_NAME),
        ),
    ] = "market-log"
    subscription: Annotated[
        str,
        About(
            "the subscription that `verify` and `tail` read, and acknowledge",
            right="a subscription's name, as a topic's, or empty",
            valid=looks_like(f"({RESOURCE_NAME})?"),
        ),
    ] = ""
    endpoint: Annotated[
        str,
        About(
            "another endpoint than pubsub.googleapis.com:443, such as a region's or an emulator's",
            right='host:port, "http://host:port" without TLS and credentials, or empty',
            valid=is_grpc_endpoint,
        ),
    ] = ""
    packing: Annotated[Literal["none", "lines"], About("what a message holds: one record, or lines")] = "none"
    order: Annotated[Literal["relaxed", "key"], About("whether messages carry an ordering key")] = "relaxed"
    ordering_keys: Annotated[
        int, About("keys of a source, over which its instruments are dealt", 1, 1024, "keys")
    ] = 32
    compression: Annotated[Literal["none", "gzip", "zstd"], About("of messages of lines")] = "none"
    message_bytes_max: Annotated[
        int, About("largest message of lines, before compression", 1024, 9_000_000, "bytes")
    ] = 65_536
    linger_ms: Annotated[int, About("how long an unfilled request waits to be filled", 1, 10_000, "ms")] = 250
    requests_in_flight_max: Annotated[
        int, About("requests that a worker has under way", 1, 1024, "requests")
    ] = 16
    backlog_bytes_max: Annotated[
        int, About("unacknowledged bytes of a worker, above which it waits", 10 << 20, BYTES_MAX, "bytes")
    ] = 64 << 20


class File(Struct, frozen=True):
    """Delivery to files of lines, one at a time for each worker."""

    path: Annotated[str, About("the directory of the files; empty: `records` in the state directory")] = ""
    rotate_bytes: Annotated[int, About("size at which a new file begins", 1024, BYTES_MAX, "bytes")] = (
        256 << 20
    )
    rotate_s: Annotated[int, About("age at which a new file begins", 1, 30 * DAY_S, "s")] = 3600
    compression: Annotated[Literal["none", "gzip", "zstd"], About("compression of the files")] = "none"
    fsync: Annotated[
        Literal["never", "rotate", "always"],
        About("when a file is forced to the disk: before it gets its name, or before records count"),
    ] = "rotate"


class Web(Struct, frozen=True):
    """The supervisor's HTTP side."""

    listen: Annotated[
        str,
        About(
            "where the supervisor serves HTTP; port 0: any free one",
            right='host:port, such as "127.0.0.1:9631" or "[::1]:9631"',
            valid=is_listen_address,
        ),
    ] = "127.0.0.1:9631"
    control_socket: Annotated[str, About("a unix socket for control requests")] = ""
    token_file: Annotated[str, About("the file that holds the token for control requests")] = ""
    read_needs_token: Annotated[bool, About("reading needs the token too")] = False
    tls_certificate: Annotated[str, About("the file that holds the certificate chain (PEM)")] = ""
    tls_key: Annotated[str, About("the file that holds the certificate's key (PEM)")] = ""


class Database(Struct, frozen=True):
    """The history of the market that the web side reads, and the catalogue of instruments."""

    url: Annotated[
        str,
        About(
            "the database: SQLite, a relative path lying in the state directory, or PostgreSQL; empty: none",
            right='"sqlite:///tickerd.db", "postgresql://user:password@host:5432/name" or empty',
            valid=looks_like(r"(sqlite:///(?!:memory:)[^\s?#]+|postgresql(\+asyncpg)?://\S+)?"),
        ),
    ] = "sqlite:///tickerd.db"
    tls_ca_file: Annotated[
        str,
        About(
            "the authorities that PostgreSQL's certificate must come from (PEM; RDS: global-bundle.pem); its "
            "host name is checked too; empty: as database.url says (sslmode=)"
        ),
    ] = ""
    iam: Annotated[bool, About("RDS: each connection's password is a token of this host's AWS role")] = False
    snapshot_every_s: Annotated[int, About("time between two snapshots", 1, DAY_S, "s")] = 60
    keep_days: Annotated[int, About("age at which rows are deleted", 1, 3660, "days")] = 7


class State(Struct, frozen=True):
    """Where a host keeps what a restart needs."""

    directory: Annotated[
        str, About("the state directory", right="the path of a directory", valid=looks_like(".+"))
    ] = "/var/lib/tickerd"


class Log(Struct, frozen=True):
    """The lines on standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], About("the least important lines that are written")
    ] = "info"
    format: Annotated[
        Literal["auto", "text", "json"], About("auto: text on a terminal, JSON lines otherwise")
    ] = "auto"
    embedded_metrics: Annotated[bool, About("lines that CloudWatch reads as metrics")] = False


class Settings(Struct, frozen=True):
    """All settings. Without arguments: the defaults."""

    source: Source = Source()
    market: Market = Market()
    rate: Rate = Rate()
    record: RecordFormat = RecordFormat()
    destination: Destination = Destination()
    kinesis: Kinesis = Kinesis()
    pubsub: PubSub = PubSub()
    file: File = File()
    web: Web = Web()
    database: Database = Database()
    state: State = State()
    log: Log = Log()

    @property
    def destination_name(self) -> str:
        """What the destination is called where a word has to do."""
        match self.destination.kind:
            case "kinesis":
                return self.kinesis.stream
            case "pubsub":
                return self.pubsub.topic
            case "file":
                return self.file.path or "files"
            case kind:
                return kind
