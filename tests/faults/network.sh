# shellcheck shell=bash
# The links between an adapter and its broker, and between an adapter and its database, are spoilt.

# fault_link broker|database FAULT SECONDS: one node's link for that time.
fault_link() {
    local command=${2/_/ }
    draw_node
    load_begin
    network "$1" "$NODE" "$command"
    sleep "$3"
    network "$1" "$NODE" heal
    healed
}
for side in broker database; do
    scenario "link $side cut 2" "the link to the $side cut for 2 s"
    scenario "link $side freeze 3" "the link to the $side half-open for 3 s"
    scenario "link $side freeze 25" "the link to the $side half-open for 25 s"
    scenario "link $side mute 20" "nothing goes to the $side for 20 s, and comes from it"
    scenario "link $side deaf 20" "nothing comes from the $side for 20 s, and goes to it"
    scenario "link $side delay_500 6" "500 ms latency each way to the $side"
    scenario "link $side rate_10000 8" "10 KB/s to the $side"
    scenario "link $side flap_2000 11" "the link to the $side reset every 2 s"
    scenario "link $side flap_200 6" "the link to the $side reset every 200 ms"
done

# Connections end in the midst of frames, on all four links.
fault_torn() {
    local i side times=0
    load_begin
    for ((i = 0; i < ${1:-12}; i++)); do
        draw_node
        side=broker
        ((RANDOM % 3)) || side=database
        network "$side" "$NODE" "tear $((1 + RANDOM % 6000))"
        times=$((times + 1))
        moment 400
    done
    for NODE in "${NODES[@]}"; do
        network broker "$NODE" heal
        network database "$NODE" heal
    done
    healed
    FAULT_DETAIL="$times times"
}
scenario short "torn 5" "connections reset after a random number of bytes"

# One of each kind, briefly, on any link.
fault_links() {
    local fault side
    load_begin
    for fault in cut freeze mute deaf "delay 200" "rate 20000" drop; do
        draw_node
        side=broker
        ((RANDOM % 3)) || side=database
        network "$side" "$NODE" "$fault"
        moment 1200 500
        network "$side" "$NODE" heal
        moment 300
    done
    healed
}
scenario links "cut, half-open, one way only, slow, throttled and reset, each briefly"

# Each cut gives back all that is delivered and not settled: here the whole prefetch, because nothing can be applied.
fault_full_prefetch() {
    local i times=$1
    load_begin
    NODE=operations
    locked_begin "$NODE"
    for ((i = 0; i < times; i++)); do
        sleep 0.5
        network broker "$NODE" drop
    done
    locked_end
    healed
    FAULT_DETAIL="$times times"
}
scenario "full_prefetch 20" "the link to the broker reset 20 times with a full prefetch"
