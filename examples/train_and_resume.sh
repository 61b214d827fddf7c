#!/usr/bin/env bash
# Train on a sample, kill -9 in the middle, resume, export, score: everything in under ten minutes.
#
#   examples/train_and_resume.sh DATA.parquet|training.1600000.processed.noemoticon.csv [FOLDER]
#
# Needs the extras train and cpu (make test creates such an environment: .venv-dev).
set -euo pipefail
data=${1:?labeled tweets: the official Sentiment140 CSV, or any CSV or Parquet with text and label}
work=${2:-$(mktemp -d)}
here=$(cd "$(dirname "$0")" && pwd)
run=$work/run bundle=$work/bundle
settings=(--limit 100000 --epochs 3 --words 20000 --pairs 40000)

echo "== train, and kill -9 in the middle of the second epoch"
sentstream train "$data" --output "$run" "${settings[@]}" &
training=$!
until [ -e "$run/checkpoint.json" ]; do
    kill -0 "$training" || { wait "$training"; exit 1; }
    sleep 0.2
done
sleep 1
kill -9 "$training" 2>/dev/null || true # unless it has ended by now
wait "$training" || echo "   killed (exit code $?); finished epochs: $(($(wc -l <"$run/log.csv") - 1))"

echo "== resume: the settings are those the run began with"
sentstream train "$data" --output "$run" --resume

echo "== export to ONNX, checked against Keras"
sentstream export-onnx "$run" --output "$bundle"

echo "== score"
sentstream score "$here/tweets.parquet" --model "$bundle" -o "$work/scored.parquet"
echo "everything is in $work"
