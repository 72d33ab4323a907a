-- bridge.say_whole(...): of updates of which the log has not all values (an unchanged value that is stored out of line, a column that had another
-- name then): puts those rows that still are what the update has made of them into bridge.outbox as a whole, with the update's version. Returns
-- the numbers of those. What is missing was written since: that is told, and with all of its values.
create or replace function bridge.say_whole(entity smallint[], key text[], op "char"[], commit_us bigint[], xid xid[], ts bigint[], base_ts bigint[],
                                            base_node text[], seen text[], correlation text[], traceparent text[])
    returns setof bigint
    language plpgsql security definer
    set search_path = pg_catalog, pg_temp set datestyle = 'ISO, MDY' set intervalstyle = postgres set timezone = 'UTC'
    set extra_float_digits = 1 set bytea_output = hex set lc_monetary = 'C' set row_security = off
as $$
declare
    e bridge.entity;
begin
    for e in select * from bridge.entity b where b.id = any (say_whole.entity) loop
        if (select count(*) from bridge.columns_of(e)) < cardinality(e.columns) then
            raise exception 'entity "%": a mapped column does not exist any more', e.name
                using errcode = 'PB003', hint = 'Correct the mapping in the config and run pgbridge install: the log waits.';
        end if;
        return query execute format($q$
            with whole as materialized (
                select g.*, array[%s]::text[] as fields
                  from unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) with ordinality
                       as g (entity, key, op, commit_us, xid, ts, base_ts, base_node, seen, correlation, traceparent, n)
                  join %s t on %s
                 where g.entity = %s
                   and (t.xmin = g.xid or (date_part('epoch', pg_xact_commit_timestamp(t.xmin)) * 1000000)::bigint = g.commit_us)),
            said as (
                insert into bridge.outbox (layout, op, fields, ts, base_ts, base_node, correlation, traceparent, seen)
                select %s, w.op, w.fields, w.ts, w.base_ts, w.base_node, w.correlation, w.traceparent, w.seen::jsonb from whole w order by w.n)
            select w.n from whole w $q$,
            (select string_agg(bridge.text_expression(format('t.%I', c.col), (select a.atttypid from pg_attribute a
                               where a.attrelid = e.relation::regclass and a.attname = c.col)), ', ' order by c.o) from bridge.columns_of(e) c),
            e.relation, replace(bridge.key_match(e), '$1', 'g.key'), e.id, e.layout)
            using say_whole.entity, say_whole.key, say_whole.op, say_whole.commit_us, say_whole.xid, say_whole.ts, say_whole.base_ts,
                  say_whole.base_node, say_whole.seen, say_whole.correlation, say_whole.traceparent;
    end loop;
end
$$;
