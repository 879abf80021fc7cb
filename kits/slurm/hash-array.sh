#!/bin/sh
# One artifact hashed by an array of Slurm tasks, each its part, on whatever nodes they come to run:
#
#   jobid=$(sbatch --parsable --array=1-16 hash-array.sh /scratch/model /scratch/parts)
#   sbatch --dependency="afterok:$jobid" --output=SHA256SUMS merge.sh /scratch/parts
#
# Count from 1 in steps of 1. A task that failed is run again by its number alone: sbatch --array=7 --export=ALL,PARTS=16 …
#SBATCH --job-name=weighbridge-hash
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=512M
set -eu
artifact=$1
parts=$2
# One that runs again is alone in its array: how many parts there are is then said by PARTS.
of=${PARTS:-$SLURM_ARRAY_TASK_COUNT}
exec weighbridge hash --jobs "${SLURM_CPUS_PER_TASK:-1}" \
  --part "$SLURM_ARRAY_TASK_ID/$of" --out "$parts/part$SLURM_ARRAY_TASK_ID.json" "$artifact"
