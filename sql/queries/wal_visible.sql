-- Whether the transactions $1 are seen by now.
select bridge.are_visible($1::xid[])
