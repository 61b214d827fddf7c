"""Measurements, prices and assumptions -> cores, hours, cost, and what saturates first."""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.scale.inputs import Inputs

HOUR, DAY = 3600.0, 86_400.0
GB = 1e9


@dataclass(frozen=True)
class Prices:
    """List prices in US dollars, of one provider in one region. They are not measured, and they change.

    Attributes:
        source: Provider, region and date.
        core_hour: A physical core for an hour.
        get, put: A read request, a write request.
        gb_month: A GB in the object store for a month.
        disk_gb_month: A GB of a broker's disk for a month.
    """

    source: str = "AWS, us-east-1, on demand, list prices as known in June 2025"
    core_hour: float = 0.20528 / 4  # c7a.xlarge: four cores, without hyper-threads
    get: float = 0.0004 / 1000
    put: float = 0.005 / 1000
    gb_month: float = 0.023
    disk_gb_month: float = 0.08


@dataclass(frozen=True)
class Assumed:
    """What was not measured.

    Attributes:
        piece_rows: Rows per file.
        latency: Seconds per request to an object store; the requests of a file are sequential.
        get_rate, put_rate: Requests per second that a prefix of an object store allows (as S3 documents).
        core_network: Network bytes per second that come with a core.
        peak: Messages per second at the worst moment.
        headroom: The planned utilization of a core in a stream.
        replicas: Copies of a broker's data.
        retention: Seconds that a broker keeps messages and results.
        dispatch: Driver seconds to hand out a task.
    """

    piece_rows: int = 100_000
    latency: float = 0.03
    get_rate: float = 5_500.0
    put_rate: float = 3_500.0
    core_network: float = 12.5e9 / 8 / 32  # c7a.8xlarge: 12.5 Gbit/s for 32 cores
    peak: float = 143_199.0  # Twitter's record, August 3, 2013, as it announced
    headroom: float = 0.6
    replicas: int = 3
    retention: float = DAY
    dispatch: float = 0.001


@dataclass(frozen=True)
class Batch:
    """A data set in an object store, scored once.

    Attributes:
        rows: Number of rows.
        cores: Number of cores.
    """

    rows: float
    cores: int
    inputs: Inputs
    assumed: Assumed = Assumed()
    prices: Prices = Prices()

    @property
    def pieces(self) -> int:
        """Number of files."""
        return math.ceil(self.rows / self.assumed.piece_rows)

    @property
    def busy(self) -> float:
        """CPU seconds per file."""
        return self.assumed.piece_rows * self.inputs.row_seconds + self.inputs.piece_seconds

    @property
    def requests(self) -> float:
        """Requests to the object store per file."""
        return self.inputs.gets + self.inputs.puts

    @property
    def piece(self) -> float:
        """Core seconds per file: CPU time, and waiting for the object store."""
        return self.busy + self.requests * self.assumed.latency

    @property
    def core_hours(self) -> float:
        return self.pieces * self.piece / HOUR

    @property
    def hours(self) -> float:
        """Wall-clock hours without failures; each core takes one file after another."""
        return math.ceil(self.pieces / self.cores) * self.piece / HOUR

    @property
    def read(self) -> float:
        """Bytes read."""
        return self.rows * self.inputs.row_in

    @property
    def written(self) -> float:
        """Bytes written."""
        return self.rows * self.inputs.row_out

    @property
    def compute_price(self) -> float:
        return self.core_hours * self.prices.core_hour

    @property
    def request_price(self) -> float:
        inputs, prices = self.inputs, self.prices
        return self.pieces * (inputs.gets * prices.get + inputs.puts * prices.put)

    @property
    def month_price(self) -> float:
        """The price of keeping input and output for a month."""
        return (self.read + self.written) / GB * self.prices.gb_month

    @property
    def network(self) -> float:
        """The used share of the network that comes with a core."""
        bytes_ = self.assumed.piece_rows * (self.inputs.row_in + self.inputs.row_out)
        return bytes_ / self.piece / self.assumed.core_network

    def bounds(self) -> dict[str, float]:
        """Return the number of cores at which each shared resource is used up; the scarcest first."""
        assumed, inputs = self.assumed, self.inputs
        limits = {
            "one driver with one file per task": self.piece / assumed.dispatch,
            "reads from one prefix of the object store": self.piece * assumed.get_rate / inputs.gets,
            "writes to one prefix of the object store": self.piece * assumed.put_rate / inputs.puts,
        }
        return dict(sorted(limits.items(), key=lambda each: each[1]))


@dataclass(frozen=True)
class Stream:
    """Messages through Kafka, as they arrive.

    Attributes:
        rate: Messages per second.
    """

    rate: float
    inputs: Inputs
    assumed: Assumed = Assumed()
    prices: Prices = Prices()

    @property
    def per_partition(self) -> float:
        """Messages per second of an instance, and so of a partition; its slower process is the limit."""
        return self.assumed.headroom / max(self.inputs.client_seconds, self.inputs.scorer_seconds)

    @property
    def partitions(self) -> int:
        """Number of partitions needed, and maximum number of instances."""
        return math.ceil(self.rate / self.per_partition)

    @property
    def cores(self) -> float:
        """Cores for the instances."""
        seconds = self.inputs.client_seconds + self.inputs.scorer_seconds
        return self.rate * seconds / self.assumed.headroom

    @property
    def broker_cores(self) -> float:
        """Cores for the brokers; each replica is assumed to cost as much to write as the first copy."""
        return self.rate * self.inputs.broker_seconds * self.assumed.replicas / self.assumed.headroom

    @property
    def disk(self) -> float:
        """Bytes on the brokers' disks, uncompressed, all replicas included."""
        bytes_ = self.inputs.message_in + self.inputs.message_out
        return self.rate * bytes_ * self.assumed.retention * self.assumed.replicas

    @property
    def day_price(self) -> float:
        """The price of a day: cores and disks."""
        cores = (self.cores + self.broker_cores) * 24 * self.prices.core_hour
        return cores + self.disk / GB * self.prices.disk_gb_month / 30
