-- What this session writes is marked as applied, by the replication origin that is number $1 of this node's; -> since when a commit is a version.
select pg_replication_origin_session_setup(bridge.origin_name(n.name, $1)), n.versions_since
  from bridge.node n
 where n.capture = 'wal'
