-- Of everything in the outbox the log tells.
update bridge.outbound set drains = false
