-- Whether the node as installed is the config's: name $1, exchange $2, queue $3, peers $4 (a JSON array of objects).
with peers as (select p.peer from json_to_recordset($4::json) as p (peer text)),
     installed as (select n.* from (values (1)) as one (row) left join bridge.node n on true)
select 'error', 'schema bridge', 'the installation is not complete: it knows no node', 'run "pgbridge install"'
  from installed where name is null
union all
select 'error', 'schema bridge', format('it is installed as node %s, the config says %s', name, $1::text),
       'if the config is right, run "pgbridge install"; but peers remember rows by the node''s old name'
  from installed where name <> $1::text
union all
select 'error', 'role', format('capture is installed for role %I, the config connects as %I: what it applies would be sent back', adapter_role, session_user),
       'run "pgbridge install", or correct "database" in the config'
  from installed where adapter_role <> session_user
union all
select 'error', 'schema bridge', format('it is installed with exchange %s and queue %s, the config says %s and %s', exchange, queue, $2::text, $3::text),
       'run "pgbridge install"'
  from installed where exchange <> $2::text or queue <> $3::text
union all
select 'error', 'schema bridge', format('peer %s is in the config and not installed', peer), 'run "pgbridge install"'
  from peers where not exists (select from bridge.peer b where b.name = peers.peer)
union all
select 'error', 'schema bridge', format('peer %s is installed and not in the config', name), 'run "pgbridge install"'
  from bridge.peer b where not exists (select from peers where peers.peer = b.name)
