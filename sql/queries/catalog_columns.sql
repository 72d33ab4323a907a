-- The mapped columns of every active entity, with what the statement builder needs: the type without its modifier (a cast
-- with one would cut a text short in silence), the type with it, SQL for the text form of the column and of the input, how
-- equal values may be spelled (text: in one way; plain: in one plain way, and others), and whether triggers or rules of the
-- table act also on what is applied.
select e.id, e.name, e.relation, e.key_count, e.triggers, cardinality(e.columns), f.field, quote_ident(f.col),
       format_type(b.base, -1), format_type(a.atttypid, a.atttypmod),
       bridge.text_expression('t.' || quote_ident(f.col), a.atttypid),
       bridge.text_expression(format('(k.t%s)::%s', f.position, format_type(a.atttypid, a.atttypmod)), a.atttypid),
       a.attgenerated <> '' as generated, a.attname is not null as present, e.policy,
       e.groups[f.position], f.field = any (e.counters), e.update_revives,
       case when b.base = any ('{int2, int4, int8, uuid}'::regtype[]) then 'plain'
            when b.base = any ('{text, varchar}'::regtype[]) and (select c.collisdeterministic from pg_collation c where c.oid = a.attcollation) then 'text'
            end as spelling,
       exists (select from pg_trigger t where t.tgrelid = to_regclass(e.relation) and t.tgenabled in ('A', 'R') and not t.tgisinternal) or
           exists (select from pg_rewrite r where r.ev_class = to_regclass(e.relation) and r.ev_enabled in ('A', 'R')) as acts
  from bridge.entity e
 cross join lateral unnest(e.fields, e.columns) with ordinality as f (field, col, position)
  left join pg_attribute a on a.attrelid = to_regclass(e.relation) and a.attname = f.col and a.attnum > 0 and not a.attisdropped
  left join lateral (with recursive base (oid, type) as (
                         select t.typbasetype, t.typtype from pg_type t where t.oid = a.atttypid and t.typtype = 'd'
                         union all
                         select t.typbasetype, t.typtype from base join pg_type t on t.oid = base.oid and t.typtype = 'd')
                     select coalesce((select base.oid from base join pg_type t on t.oid = base.oid where t.typtype <> 'd'), a.atttypid) as base) b on true
 where e.active
 order by e.id, f.position
