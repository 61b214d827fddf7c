"""Label the tweets that students learn from, chunk by chunk.

::

    python recipes/mpnet/label.py --work build/mpnet               # all remaining chunks
    python recipes/mpnet/label.py --work build/mpnet --chunks 1    # only the next one

``transfer.py`` selects the tweets. The output has row numbers, 16-bit probabilities, and the fingerprint of
the file that they refer to, but no texts: the format of ``recipes/minilm/labels``. Each chunk is a file in
``labels`` that can be committed as soon as it is done; a source's chunks are merged into one file, with a
byte per probability, when all are there.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import pyarrow as pa
import torch

sys.path.extend(str(Path(__file__).resolve().parents[2] / part) for part in ("recipes", ".", "train"))

from minilm.join import fingerprint
from mpnet.chunks import missing, write
from mpnet.fetch import encoder_of
from mpnet.teach import ADAPTER, data_folder, finished_teacher
from mpnet.tokens import Tokens, shares_of
from mpnet.transfer import transfer_set
from mpnet.tweets import read

HERE = Path(__file__).resolve().parent
KEPT = HERE / "labels"


def main() -> None:
    """Run with the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work", type=Path, default=Path("build/mpnet"), help="the output folder of fetch.py"
    )
    parser.add_argument("--chunks", type=int, default=1_000, help="maximum number of chunks; default all")
    parser.add_argument("--threads", type=int, default=2, help="number of threads")
    options = parser.parse_args()
    torch.set_num_threads(1)
    encoder, data = encoder_of(options.work), data_folder()
    teacher = finished_teacher(options.work)
    KEPT.mkdir(exist_ok=True)
    adapter = fingerprint(ADAPTER)
    for done, chunk in enumerate(missing(transfer_set(data, options.work), KEPT)):
        if done == options.chunks:
            break
        texts = read(chunk.tweets.file, "text")["text"].take(pa.array(chunk.rows))
        began, worked = time.monotonic(), time.process_time()
        tokens = Tokens(encoder, texts.to_pylist())
        write(chunk, shares_of(teacher, tokens, options.threads), adapter)
        wall, cpu = time.monotonic() - began, time.process_time() - worked
        rows = len(chunk.rows)
        print(
            f"{chunk.path.name}: {rows:,} tweets, {rows / wall:.0f}/s, {rows / cpu:.0f} per CPU second",
            flush=True,
        )


if __name__ == "__main__":
    main()
