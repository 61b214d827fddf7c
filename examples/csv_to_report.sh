#!/usr/bin/env bash
# From a CSV of tweets to an HTML report of their sentiment, over time and by language.
#
#   examples/csv_to_report.sh TWEETS.csv [FOLDER]
#
# Expects the columns text, created_at (ISO 8601) and lang; name others with --text-column, --time-column and --by.
set -euo pipefail
tweets=${1:?a CSV of tweets with the columns text, created_at and lang}
folder=${2:-.}
sentstream score "$tweets" --output "$folder/scored.parquet"
sentstream report "$folder/scored.parquet" --time-column created_at --by lang --output "$folder/report.html"
