#!/usr/bin/env bash
# From your own labeled tweets to a model of your own: fine-tune, evaluate, export, score.
#
#   examples/own_labels.sh TRAIN.csv TEST.csv TWEETS [FOLDER]
#
# The first two have the columns text and label, with any labels; TEST has rows that TRAIN does not have. TWEETS are the
# files to score. MODEL=tweets-small starts from the smaller model. Needs the extras train and cpu.
set -euo pipefail
train=${1:?labeled tweets to train on} test=${2:?labeled tweets to evaluate on} tweets=${3:?tweets to score}
folder=${4:-own}
sentstream fine-tune "${MODEL:-tweets}" "$train" --without "$test" --output "$folder/run"
sentstream evaluate "$folder/run" "$test"
sentstream export-onnx "$folder/run" --output "$folder/bundle" --name own --evaluate "own test=$test"
sentstream score "$tweets" --model "$folder/bundle" --output "$folder/scored.parquet"
