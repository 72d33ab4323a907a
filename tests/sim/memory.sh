#!/usr/bin/env bash
# Two whole bridges in memory, and each allocation of a schedule fails once, in a process of its own. Each time the program must either do
# without, or end in order, saying so, for its supervisor to start it again; and whatever it had acknowledged or sent by then, the
# simulator has looked at. MEMORY_STRIDE=1 goes through all of them, otherwise every so manieth from a drawn one on.
set -euo pipefail
simulate=$BUILD_DIR/tests/simulate
stride=${MEMORY_STRIDE:-17}
seed=${MEMORY_SEED:-$((SRANDOM % 100000))}
number=$((1 + SRANDOM % stride))
printf 'MEMORY_SEED=%s MEMORY_STRIDE=%s, from %s\n' "$seed" "$stride" "$number"

tried=0 ended=0 libraries=0
while :; do
    status=0
    said=$(LD_PRELOAD=$BUILD_DIR/tests/libfail_calls.so FAIL_CALL=malloc FAIL_AT=$number "$simulate" --seed "$seed" --count 1 2>&1) || status=$?
    [[ $said == *"failed malloc $number"$'\n'* || $said == *"failed malloc $number" ]] || break
    tried=$((tried + 1))
    if ((status == 75)) && [[ $said == *"pgbridge: out of memory in "* ]]; then
        ended=$((ended + 1))
    elif ((status == 139)) && [[ $said =~ libcrypto\.so[^\ ]*\(CRYPTO_THREAD|libjson-c\.so[^\ ]*\(json_tokener_parse_ex ]]; then
        # Libraries that do not survive it: OpenSSL 3.0 in its beginning, json-c 0.16 at the name of a member. Nothing was acknowledged.
        libraries=$((libraries + 1))
    elif ((status != 0)); then
        printf 'not ok: allocation %s of seed %s: the program ended with %s\n%s\n' "$number" "$seed" "$status" "$said"
        exit 1
    fi
    number=$((number + stride))
done
((ended > 10)) || { printf 'not ok: of %s allocations %s were missed\n' "$tried" "$ended"; exit 1; }
printf 'ok - of %s allocations that failed %s ended the program in order, and it did without the others%s\n' "$tried" "$ended" \
    "$( ((libraries == 0)) || printf '; %s were of libraries that do not survive that' "$libraries")"
