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

-- bridge.needs_pinned_settings(type): whether the type's text depends on settings of the session.
create or replace function bridge.needs_pinned_settings(type oid) returns boolean
    language sql stable
    set search_path = pg_catalog, pg_temp
as $$
    select not (t.typtype = 'e' or t.oid in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype,
                'text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'name'::regtype, '"char"'::regtype,
                'bool'::regtype, 'uuid'::regtype, 'json'::regtype, 'jsonb'::regtype, 'inet'::regtype, 'cidr'::regtype))
      from pg_type t where t.oid = type
$$;

-- bridge.key_expression(columns' text expressions): SQL for the text of a key: itself, or the text of the array.
create or replace function bridge.key_expression(expressions text[]) returns text
    language sql immutable
    set search_path = pg_catalog, pg_temp
as $$
    select case when cardinality(expressions) = 1 then expressions[1]
                else format('(array[%s])::text', array_to_string(expressions, ', ')) end
$$;
