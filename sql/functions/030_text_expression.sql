-- bridge.text_expression(expression, type): SQL for the text form of a value as the type's output function writes it.
-- A plain cast to text differs from it for boolean, character(n), "char", inet and cidr.
create or replace function bridge.text_expression(expression text, type oid) returns text
    language plpgsql stable
    set search_path = pg_catalog, pg_temp
as $$
declare
    base oid := type;
begin
    while exists (select from pg_type t where t.oid = base and t.typtype = 'd') loop
        select t.typbasetype into base from pg_type t where t.oid = base;
    end loop;
    if base in ('bool'::regtype, 'bpchar'::regtype, '"char"'::regtype, 'inet'::regtype, 'cidr'::regtype) then
        if base <> type then
            expression := format('(%s)::%s', expression, format_type(base, -1));
        end if;
        return format('textin(%s(%s))', (select t.typoutput from pg_type t where t.oid = base), expression);
    end if;
    return format('(%s)::text', expression);
end
$$;

-- bridge.pinned_settings(types): clauses of a function that writes these types' text, which must not depend on the session's
-- settings. Each costs every call, so only those that these types need; for a type that is not known here, all.
create or replace function bridge.pinned_settings(types oid[]) returns text
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    select coalesce(string_agg(distinct s.clause, ' '), '')
      from unnest(types) as u (oid)
      join pg_type t on t.oid = u.oid and t.typtype <> 'e'
      join (values ('set datestyle = ''ISO, MDY''', array['date', 'time', 'timetz', 'timestamp', 'timestamptz']),
                   ('set intervalstyle = postgres', array['interval']),
                   ('set timezone = ''UTC''', array['timestamptz']),
                   ('set extra_float_digits = 1', array['float4', 'float8']),
                   ('set bytea_output = hex', array['bytea']),
                   ('set lc_monetary = ''C''', array['money'])) as s (clause, needed_by)
        on t.typnamespace <> 'pg_catalog'::regnamespace or t.typname = any (s.needed_by)
           or t.typname <> all (array['int2', 'int4', 'int8', 'numeric', 'text', 'varchar', 'bpchar', 'name', 'char', 'bool', 'uuid',
                                      'json', 'jsonb', 'inet', 'cidr', 'date', 'time', 'timetz', 'timestamp', 'timestamptz',
                                      'interval', 'float4', 'float8', 'bytea', 'money'])
$$;

-- bridge.key_expression(columns' text expressions): SQL for the text of a key: itself, or the text of the array.
create or replace function bridge.key_expression(expressions text[]) returns text
    language sql immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case when cardinality(expressions) = 1 then expressions[1]
                else format('(array[%s])::text', array_to_string(expressions, ', ')) end
$$;
