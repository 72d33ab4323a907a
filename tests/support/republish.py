"""A hand in the broker that spoils what a node publishes before its peer gets it, for tests.

    republish.py URL PEER NODE MODE PERCENT SEED

Takes the peer's messages to the node out of their way and passes them on, until SIGTERM; then gives the way back. MODE, for so many
percent of the messages:

    duplicate    passes it on several times, at once or later
    reorder      holds some messages back and passes them on in any order
    lose         keeps it, and passes it on only at the end
    corrupt      passes on a spoilt copy as well, before or after: bytes changed in a row, cut off, with another's hash, without headers
    bomb         the same with copies that are huge when parsed: deep, wide, with many keys, or with deep headers; one is too large
    strange      the same with copies of an unknown entity, an unknown column, a wrong type; readable and with a right hash

Prints "ready", a line per kind of copy, and at the end "passed N copies M poison P permanent Q".
"""

import json
import random
import signal
import sys
import threading

import pika

from contract import content_hash

url, peer, node, mode, percent, seed = sys.argv[1:7]
percent = int(percent)
random.seed(int(seed))
sys.setrecursionlimit(100000)
threading.stack_size(512 << 20)

QUEUE, EXCHANGE, SYNC = "spoiler." + node, "spoilt." + node, "bridge.sync"
OVERSIZE = (16 << 20) + 1

stopping = False
counts = {"passed": 0, "copies": 0, "poison": 0, "permanent": 0}
oversize_sent = False
channel = None


def send(key, body, properties):
    channel.basic_publish(EXCHANGE, key, body, properties, mandatory=True)


def with_headers(properties, headers):
    return pika.BasicProperties(content_type=properties.content_type, delivery_mode=2, message_id=properties.message_id,
                                correlation_id=properties.correlation_id, timestamp=properties.timestamp, type=properties.type,
                                app_id=properties.app_id, headers=headers)


def is_data(properties):
    return not (properties.type or "").startswith("control.")


# Copies that are alike make one letter.
seen = set()


def copy(kind, outcome, key, body, properties, headers):
    counts["copies"] += 1
    letter = (outcome, headers.get("x-source"), b"" if len(body) >= OVERSIZE else body)
    if outcome != "poison" or letter not in seen:
        counts[outcome] = counts.get(outcome, 0) + 1
    seen.add(letter)
    print("copy", kind, flush=True)
    send(key, body, with_headers(properties, headers))


def corrupted(key, body, properties):
    kind = random.choice(["changed", "cut", "hash", "headerless", "empty", "garbage"])
    headers = dict(properties.headers)
    if kind == "changed":
        # In the values: the hash stands for them.
        start = body.index(b'"rows":') + 8
        at = random.randrange(start, body.index(b"]]", start))
        body = body[:at] + bytes([body[at] ^ (1 << random.randrange(7))]) + body[at + 1:]
    elif kind == "cut":
        body = body[:random.randrange(len(body))]
    elif kind == "hash":
        headers["x-content-hash"] = "sha256:" + "0" * 64
    elif kind == "headerless":
        del headers[random.choice(["x-source", "x-content-hash"])]
    elif kind == "empty":
        body = b""
    else:
        body = bytes(random.randrange(256) for _ in range(200))
    copy(kind, "poison", key, body, properties, headers)


def deep_table(depth):
    table = {"k": 1}
    for _ in range(depth):
        table = {"k": table}
    return table


def bomb(key, body, properties):
    global oversize_sent
    kinds = ["deep", "wide", "objects", "keys", "headers", "long"]
    kind = random.choice(kinds) if oversize_sent else "oversize"
    headers = dict(properties.headers)
    outcome = "poison"
    if kind == "oversize":
        oversize_sent = True
        body = b" " * OVERSIZE
    elif kind == "deep":
        body = b"[" * 1000000
    elif kind == "wide":
        body = b'{"entity":"item","op":"updated","key":["id"],"columns":["id"],"rows":[' + b",".join([b'["1"]'] * 900000) + b"]}"
    elif kind == "objects":
        body = b'{"rows":[' + b",".join([b"{}"] * 1000000) + b"]}"
    elif kind == "keys":
        body = b"{" + b",".join(b'"k%d":null' % i for i in range(1000000)) + b"}"
    elif kind == "long":
        body = b'{"entity":"' + b"x" * 4000000 + b'"}'
    else:
        # A known message otherwise: what comes twice does no harm.
        headers["x-deep"] = deep_table(8000)
        outcome = "harmless"
    copy(kind, outcome, key, body, properties, headers)


def strange(key, body, properties):
    kind = random.choice(["entity", "column", "type"])
    headers = dict(properties.headers)
    message = json.loads(body)
    rows = 1
    if kind == "entity":
        message["entity"] = "unheard-of"
        rows = len(message["rows"])
    elif kind == "column":
        message["columns"].append("shoe_size")
        for row in message["rows"]:
            row.append("44")
        rows = 0
    else:
        number = message["columns"].index(message["key"][0])
        for row in message["rows"]:
            row[number] = "no number"
        # All have one key now: those of one version are one change.
        rows = len(set(message["versions"]))
    headers["x-content-hash"] = content_hash(message)
    counts["permanent"] += rows
    copy(kind, "readable", key, json.dumps(message).encode(), properties, headers)


SPOILERS = {"corrupt": corrupted, "bomb": bomb, "strange": strange}
held = []
recent = []


def take(key, body, properties):
    drawn = is_data(properties) and random.randrange(100) < percent
    clean = with_headers(properties, properties.headers)
    if drawn and mode in SPOILERS:
        before = random.randrange(2)
        if not before:
            send(key, body, clean)
        SPOILERS[mode](key, body, properties)
        if not before:
            return
    if drawn and mode == "lose":
        counts["copies"] += 1
        held.append((key, body, clean))
        return
    if mode == "reorder":
        counts["copies"] += 1
        held.append((key, body, clean))
        if len(held) >= 20:
            release()
        return
    send(key, body, clean)
    if mode == "duplicate" and drawn:
        for _ in range(random.randrange(1, 4)):
            counts["copies"] += 1
            send(key, body, clean)
        recent.append((key, body, clean))
        if len(recent) > 200:
            recent.pop(random.randrange(len(recent)))
        counts["copies"] += 1
        send(*random.choice(recent))


def release():
    random.shuffle(held)
    while held:
        send(*held.pop())


def stop(*_):
    global stopping
    stopping = True


def main():
    global channel
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    target, binding = "bridge.sync." + node, peer + ".#"
    channel.exchange_declare(EXCHANGE, "topic", durable=True)
    channel.queue_bind(target, EXCHANGE, "#")
    channel.queue_declare(QUEUE, durable=True)
    channel.queue_bind(QUEUE, SYNC, binding)
    channel.queue_unbind(target, SYNC, binding)
    print("ready", flush=True)
    rebound = False
    channel.basic_qos(prefetch_count=500)
    for method, properties, body in channel.consume(QUEUE, inactivity_timeout=0.05):
        if method is not None:
            take(method.routing_key, body, properties)
            channel.basic_ack(method.delivery_tag)
            counts["passed"] += 1
        elif rebound:
            break
        elif mode == "reorder":
            release()
        if stopping and not rebound:
            channel.queue_bind(target, SYNC, binding)
            channel.queue_unbind(QUEUE, SYNC, binding)
            rebound = True
    release()
    channel.cancel()
    # An answer of the broker: it has taken all of it.
    channel.queue_delete(QUEUE)
    # The target's binding goes with the exchange, and what it has taken stays.
    channel.exchange_delete(EXCHANGE)
    connection.close()
    print("passed %(passed)d copies %(copies)d poison %(poison)d permanent %(permanent)d" % counts, flush=True)


signal.signal(signal.SIGTERM, stop)
# With a stack of its own: deep tables are encoded by recursion.
worker = threading.Thread(target=main)
worker.start()
worker.join()
