-- The log tells no more: what of it is kept for this node is given up.
select bridge.leave_log()
