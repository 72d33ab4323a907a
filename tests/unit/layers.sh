#!/usr/bin/env bash
# The rooms keep to themselves: who includes whom (design section 8).
set -euo pipefail
cd "$SOURCE_DIR"
status=0

# refuse WHERE PATTERN WHY: no file of WHERE has an include that matches.
refuse() {
    local found
    found=$(grep -rnE "^ *# *include *[<\"]($2)" $1 || true)
    if [[ -n $found ]]; then
        printf 'not ok: %s\n%s\n' "$3" "$found"
        status=1
    else
        printf 'ok - %s\n' "$3"
    fi
}
others_of() {
    find bridge adapters -name '*.[ch]' ! -path "$1" | tr '\n' ' '
}

refuse bridge 'adapters/' 'the core knows no adapter'
refuse bridge 'libpq|amqp|rabbitmq|cyaml|yaml|microhttpd|systemd/|sys/socket|netinet' 'the core knows no world'
refuse adapters/postgres 'adapters/(rabbitmq|host)/' 'postgres knows no other room'
refuse adapters/rabbitmq 'adapters/(postgres|host)/' 'rabbitmq knows no other room'
refuse 'bridge/base' 'bridge/(message|control|flow)/' 'base knows nothing above it'
refuse 'bridge/message' 'bridge/(control|flow)/' 'message knows nothing above it'
refuse "$(others_of 'bridge/message/codec_*')" 'json-c|json\.h' 'json-c stays in the codec'
refuse "$(find bridge adapters/postgres -name '*.[ch]' ! -path bridge/message/digest.c | tr '\n' ' ')" 'openssl/' 'openssl stays in digest.c, and in the broker session for TLS'
refuse "bridge adapters" '\.\.?/' 'includes are written from the root'
exit "$status"
