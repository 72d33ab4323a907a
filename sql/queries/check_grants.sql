-- What the adapter's role lacks on the bridge's own tables, see bridge.grant_adapter.
select 'error', 'schema bridge', format('%I lacks %s', current_user, string_agg(format('%s on bridge.%s', w.privilege, w.name), ', ')),
       'as an admin: select bridge.grant_adapter()'
  from (values ('version', 'select'), ('fingerprint', 'select'), ('node', 'select'), ('peer', 'select'), ('entity', 'select'),
               ('layout', 'select'), ('capture_switch', 'select'), ('outbox', 'select'), ('outbox', 'delete'), ('outbound', 'select'),
               ('outbound', 'update'), ('inbound', 'select'), ('inbound', 'insert'), ('inbound', 'update'),
               ('worker', 'select'), ('worker', 'insert'), ('worker', 'update'), ('row_version', 'select'),
               ('row_version', 'insert'), ('row_version', 'update'), ('dead_letter', 'select'),
               ('dead_letter', 'insert'), ('dead_letter', 'update'), ('conflict', 'select'), ('conflict', 'insert'),
               ('conflict', 'update'), ('pause', 'select'), ('gap', 'select'), ('suspect', 'select'), ('suspect', 'insert'), ('suspect', 'update'),
               ('suspect', 'delete'), ('disagreement', 'select'), ('disagreement', 'insert'), ('disagreement', 'update'),
               ('disagreement', 'delete'), ('status', 'select'), ('lag', 'select'), ('health', 'select'),
               ('dead_letter_payloads', 'select')) as w (name, privilege)
  left join pg_class c on c.relnamespace = 'bridge'::regnamespace and c.relname = w.name
 where c.oid is null or not has_table_privilege(c.oid, w.privilege)
having count(*) > 0
