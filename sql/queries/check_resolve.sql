-- The config's mapping $1 (a JSON array with an object per entity and field), with what the catalog makes of the names:
-- relation and attnum, null for what does not exist. The other check_ queries take the result, and of it what they need.
select coalesce(json_agg(row_to_json(r)), '[]')
  from (select m.entity, m.schema, m."table", m.field, m."column", m.position, m.position <= m.key_count as is_key,
               m.key_count, m.triggers, m.truncate, m.coalesced, m.policy, m.counter, m.update_revives,
               m.nodes, m.retry, c.oid as relation, a.attnum
          from json_to_recordset($1::json) as m (entity text, schema text, "table" text, field text, "column" text,
                                                 position int, key_count int, triggers text, truncate text,
                                                 coalesced bool, policy text, counter bool, update_revives bool, nodes int, retry text)
          left join pg_namespace n on n.nspname = m.schema
          left join pg_class c on c.relnamespace = n.oid and c.relname = m."table" and c.relkind in ('r', 'p')
          left join pg_attribute a on a.attrelid = c.oid and a.attname = m."column" and a.attnum > 0 and not a.attisdropped
         order by m.entity, m.position) r
