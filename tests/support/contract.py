"""An AMQP client that shares nothing with the bridge, for tests of the message contract.

    contract.py peek URL EXCHANGE KEY COUNT     binds KEY, prints "ready", then COUNT messages as JSON lines
    contract.py publish URL EXCHANGE < JSON     publishes messages: one JSON object a line, as peek prints them

A peeked message is {"routing_key", "properties", "headers", "body", "body_text", "computed_hash"}: the hash is computed here
from the canonical content, after the README's words. In a message to publish, "x-content-hash": "compute" in the headers
is replaced by the right one.
"""

import hashlib
import json
import sys

import pika


def content_hash(body):
    digest = hashlib.sha256()
    for row in body["rows"]:
        fields = sorted(zip(body["columns"], row), key=lambda pair: pair[0].encode())
        for name, value in fields:
            name = name.encode()
            digest.update(b"%d:%s=" % (len(name), name))
            if value is None:
                digest.update(b"~;")
            else:
                value = value.encode()
                digest.update(b"%d:%s;" % (len(value), value))
        digest.update(b"\n")
    return "sha256:" + digest.hexdigest()


def peek(channel, exchange, key, count):
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(queue, exchange, key)
    print("ready", flush=True)
    for method, properties, raw in channel.consume(queue, auto_ack=True):
        body = json.loads(raw)
        shown = {name: getattr(properties, name) for name in (
            "content_type", "delivery_mode", "correlation_id", "message_id", "timestamp", "type", "user_id", "app_id")}
        print(json.dumps({
            "routing_key": method.routing_key,
            "properties": shown,
            "headers": properties.headers,
            "body": body,
            "body_text": raw.decode(),
            "computed_hash": content_hash(body) if "rows" in body else None,
        }), flush=True)
        count -= 1
        if count == 0:
            break


def publish(channel, exchange):
    channel.confirm_delivery()
    for line in sys.stdin:
        message = json.loads(line)
        headers = message.get("headers", {})
        if headers.get("x-content-hash") == "compute":
            headers["x-content-hash"] = content_hash(message["body"])
        text = message.get("body_text") or json.dumps(message["body"])
        channel.basic_publish(exchange, message["routing_key"], text, pika.BasicProperties(
            headers=headers, delivery_mode=2, **message.get("properties", {})), mandatory=True)
        print("published", message["routing_key"], flush=True)


def main():
    command, url, exchange = sys.argv[1:4]
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    if command == "peek":
        peek(channel, exchange, sys.argv[4], int(sys.argv[5]))
    else:
        publish(channel, exchange)


if __name__ == "__main__":
    main()
