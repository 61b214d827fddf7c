#!/usr/bin/env bash
# From a Kafka topic to Parquet files and a report of each hour. Let cron run it once an hour:
#
#   examples/hourly_reports.sh BOOTSTRAP_SERVERS TOPIC FOLDER
#
# Scores each message that has arrived exactly once, also if a run was killed. The rows are in FOLDER/scored, in a folder
# per hour of the messages' time (UTC); FOLDER/reports has a page for each. A page is written again if rows were added.
set -euo pipefail
servers=${1:?the address of a broker, e.g. localhost:9092} topic=${2:?a topic of tweets} folder=${3:?a folder}
sentstream consume --bootstrap-servers "$servers" --topic "$topic" --group hourly-reports --until-end \
    --to-parquet "$folder/scored" --partition-by date,hour
mkdir -p "$folder/reports"
shopt -s nullglob # there may be no hour yet
for hour in "$folder"/scored/date=*/hour=*/; do
    name=${hour#*date=} name=${name%/}
    page=$folder/reports/${name/\/hour=/T}.html # 2026-09-01T07.html
    if [ ! -e "$page" ] || [ "$hour" -nt "$page" ]; then # a file was added to the hour's folder
        sentstream report "$hour" --time-column timestamp --output "$page" --overwrite
    fi
done
