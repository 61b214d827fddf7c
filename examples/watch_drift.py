"""Watch a topic for drift: exit with 1 as soon as its tweets differ from those of a reference.

    sentstream reference usual.parquet --output reference.json
    sentstream consume --topic tweets --metrics-port 9464 --reference reference.json &
    python examples/watch_drift.py http://localhost:9464/metrics --every 60

``consume`` computes the population stability index over its last ``--drift-window``, once the window has
1,000 texts; above 0.25 is a major change (Siddiqi 2006). Without ``--reference`` the comparison is with the
model's training data, if its bundle has those counts. For many instances, let Prometheus do this:
``deploy/alerts.yml`` has the alert.
"""

from __future__ import annotations

import argparse
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families


def distances(url: str) -> dict[str, float]:
    """Return the distance of labels, scores and words from the reference; empty below 1,000 texts."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        text = answer.read().decode()
    return {
        sample.labels["of"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "sentstream_drift_psi"
    }


def main() -> None:
    """Check the distances again and again."""
    parser = argparse.ArgumentParser(description="Exit with 1 once a topic drifts.")
    parser.add_argument("url")
    parser.add_argument("--limit", type=float, default=0.25)
    parser.add_argument("--every", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument(
        "--times", type=int, default=0, help="number of checks; by default it checks until there is drift"
    )
    args = parser.parse_args()
    looks = 0
    while True:
        measured = distances(args.url)
        print(", ".join(f"{name} {psi:.3f}" for name, psi in measured.items()) or "too few texts", flush=True)
        drifted = [name for name, psi in measured.items() if psi > args.limit]
        if drifted:
            parser.exit(1, f"drift of {', '.join(drifted)}\n")
        looks += 1
        if looks == args.times:
            return
        time.sleep(args.every)


if __name__ == "__main__":
    main()
