#!/bin/bash
# Score a data set with a Slurm array: no cluster software, and each task of the array gets a share of the bytes.
#
#   sbatch --array=1-16 score.sh /shared/tweets /shared/scored
#
# The shards do not communicate. Each may run at any time on any node, and may be rerun: --resume keeps what is
# done. The one that ends last merges the outputs that several shards wrote parts of, and completes the manifest.
#SBATCH --job-name=sentstream
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=sentstream-%A-%a.log
set -euo pipefail

input=${1:?usage: sbatch --array=1-N score.sh INPUT OUTPUT [OPTION …]}
output=${2:?usage: sbatch --array=1-N score.sh INPUT OUTPUT [OPTION …]}
shard=${SLURM_ARRAY_TASK_ID:?start it with sbatch --array=1-N}/${SLURM_ARRAY_TASK_MAX:?start it with sbatch --array=1-N}
if [[ ${SLURM_ARRAY_TASK_MIN:-1} != 1 || ${SLURM_ARRAY_TASK_COUNT:-$SLURM_ARRAY_TASK_MAX} != "$SLURM_ARRAY_TASK_MAX" ]]; then
    echo "the array must be 1-N without gaps: each task does one of N shares" >&2
    exit 2
fi

exec sentstream score "$input" --output "$output/" --shard "$shard" --resume \
    --threads "${SLURM_CPUS_PER_TASK:-1}" "${@:3}"
