#!/usr/bin/env bash
# The benchmark in a very small form, so that it cannot rot: every case runs, its checks hold, and every figure is in the JSON and in
# the table. The figures themselves mean nothing here.
set -euo pipefail
result=$(mktemp)
table=$(mktemp)
trap 'rm -f "$result" "$table"' EXIT
PGBRIDGE=$BUILD_DIR/pgbridge "$SOURCE_DIR/tests/bench/run" --scale 0.005 --runs 1 --systems native,outbox --json "$result" >"$table"

absent=$(jq -r '. as $all
    | {native: {}, outbox: {both: ["p50_ms", "p99_ms", "backlog_seconds"]}} | to_entries[]
    | .key as $system
    | (.value + {light: ["p50_ms", "p99_ms"], bulk: ["seconds", "statement_seconds", "memory_mb_databases"],
        small: ["seconds"], cold: ["seconds", "processor_s_per_million", "memory_mb_broker"], steady: ["p50_ms", "p99_ms", "max_ms", "tps"],
        tpcb: ["tps", "tail_seconds", "backlog_seconds"], overhead: ["tps_with", "tps_without", "percent"]}) | to_entries[]
    | .key as $case | .value[] | select(($all.medians[$system][$case][.] | type) != "number") | "\($system) \($case) \(.)"' "$result")
[[ -z $absent ]] || { printf 'not ok: absent: %s\n' "$absent" >&2; exit 1; }
jq -e '.ratios_to_native.native | [.. | numbers] | length > 10 and all(. == 1)' "$result" >/dev/null ||
    { printf 'not ok: native differs from itself\n' >&2; exit 1; }
jq -e '.medians.outbox.cold | .memory_mb_adapter > 1 and .processor_s_per_million_databases > 0 and .processor_s_per_million_broker > 0' "$result" >/dev/null ||
    { printf 'not ok: no account of processor time and memory: %s\n' "$(jq -c .medians.outbox.cold "$result")" >&2; exit 1; }
(($(grep -c 'x)' "$table") >= 15)) || { printf 'not ok: the table has too few ratios\n' >&2; cat "$table" >&2; exit 1; }
printf 'ok - the benchmark measures %s figures\n' "$(jq '.values | length' "$result")"
