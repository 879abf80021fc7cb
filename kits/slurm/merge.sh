#!/bin/sh
# Joins what the tasks of hash-array.sh wrote; prints what `weighbridge hash` prints on one machine.
#SBATCH --job-name=weighbridge-merge
#SBATCH --ntasks=1
#SBATCH --mem=2G
set -eu
exec weighbridge --quiet manifest merge "$1"/part*.json
