#!/bin/sh
# Prepares a day on a CPU worker, then learns from it on a GPU worker: ./nightly.sh [DAY]
#
# A run belongs to one tag, so this is two runs: the second is given the address of the file that the first has kept.
# The exit status is 0 only where both are COMPLETED, so cron tells of any failure.
set -eu
cd "$(dirname "$0")"
day=${1:-$(date -u +%F)}
gateway=${GATEWAY:-http://127.0.0.1:8000}

# submit FLOW TAG [FLAG...]: prints the run's id when it is COMPLETED. Its key makes a second start harmless.
submit() {
    flow=$1 tag=$2
    shift 2
    run=$(pyoco-client --server "$gateway" submit-yaml --workflow-file "flows/$flow.yaml" --flow-name "$flow" \
        --tag "$tag" --param day="$day" --idempotency-key "$flow $day" --wait "$@")
    echo "$run" | jq -r .run_id
}

prepared=$(submit prepare cpu)
trained=$(submit train gpu --param rows="$gateway/runs/$prepared/artifacts/rows.csv")
echo "$day: prepared by $prepared, trained by $trained"
