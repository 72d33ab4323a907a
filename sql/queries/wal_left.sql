-- The log tells no more: what of it is kept for this node is given up, and another time begins anew.
update bridge.outbound set released_lsn = null, captures_log = false
