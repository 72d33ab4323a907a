#!/usr/bin/env bash
# What only tests may do is in the tests' build of the program, and not in the one that is installed: hooks.c, crash_points.c.
set -euo pipefail

for word in PGBRIDGE_CRASH PGBRIDGE_DISABLE outlet.message; do
    if ! grep -aqF "$word" "$BUILD_DIR/tests/pgbridge_hooks"; then
        printf 'not ok: %s is not in the program of the tests\n' "$word" >&2
        exit 1
    fi
    if grep -aqF "$word" "$BUILD_DIR/pgbridge"; then
        printf 'not ok: %s is in the program that is installed\n' "$word" >&2
        exit 1
    fi
done
printf 'ok - the program that is installed has no hooks\n'
