-- bridge.content_hash(fields, values): the content hash of one row, as in x-content-hash.
-- The canonical content is, for the fields sorted by name in byte order, "<bytes>:<name>=<bytes>:<value>;" or
-- "<bytes>:<name>=~;" for null, and a newline at the end. bridge/message/digest.c computes the same.
create or replace function bridge.content_hash(fields text[], "values" text[]) returns text
    language sql immutable parallel safe
    set search_path = pg_catalog, pg_temp
as $$
    select 'sha256:' || encode(sha256(convert_to(
               coalesce(string_agg(octet_length(convert_to(f, 'UTF8')) || ':' || f || '='
                        || case when v is null then '~;' else octet_length(convert_to(v, 'UTF8')) || ':' || v || ';' end,
                        '' order by f collate "C"), '') || E'\n', 'UTF8')), 'hex')
      from unnest(fields, "values") as u (f, v)
$$;
