-- What this session writes is marked as applied, by the replication origin that is number $1 of this node's.
select pg_replication_origin_session_setup(bridge.origin_name(n.name, $1)) from bridge.node n
