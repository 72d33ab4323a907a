#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "adapters/postgres/compose.h"
#include "adapters/postgres/statement.h"

static const struct catalog_column *column_of(const struct statement *statement, size_t i)
{
    return &statement->entity->columns[statement->column_index[i]];
}

/* "t.a = i.c1 and t.b = i.c2" over the key. */
static void put_key_match(FILE *out, const struct catalog_entity *entity, const char *table, const char *input)
{
    for (size_t i = 0; i < entity->key_count; i++)
        fprintf(out, "%s%s.%s = %s.c%zu", i ? " and " : "", table, entity->columns[i].column, input, i + 1);
}

/* The row of the key, if it is still the version that was judged: after a wait for another's lock the server looks again,
 * and a row that was changed meanwhile stands elsewhere. So nothing is ever overwritten unseen, and no lock is taken
 * beforehand. */
static void put_unchanged_match(FILE *out, const struct catalog_entity *entity)
{
    put_key_match(out, entity, "t", "j");
    fputs(" and t.ctid = j.row_place and t.tableoid = j.row_table", out);
}

/* Whether the input's typed value is what the column would hold: no modifier makes another of it. */
static bool typed_exactly(const struct statement *statement, size_t i)
{
    return strcmp(column_of(statement, i)->exact_type, column_of(statement, i)->bare_type) == 0;
}

/* Of a row t that is there. */
static void put_same_image(FILE *out, const struct statement *statement)
{
    size_t keys = statement->entity->key_count;
    fputs("record_image_eq(row(", out);
    for (size_t i = keys; i < statement->column_count; i++)
        fprintf(out, "%st.%s", i > keys ? ", " : "", column_of(statement, i)->column);
    fputs("), row(", out);
    for (size_t i = keys; i < statement->column_count; i++) {
        if (typed_exactly(statement, i))
            fprintf(out, "%sk.c%zu", i > keys ? ", " : "", i + 1);
        else
            fprintf(out, "%s(k.t%zu)::%s", i > keys ? ", " : "", i + 1, column_of(statement, i)->exact_type);
    }
    fputs("))", out);
}

/* Whether row t holds the input's content: by image, because equality of types such as citext or numeric is not
 * equality of content. */
static void put_equal(FILE *out, const struct statement *statement)
{
    size_t keys = statement->entity->key_count;
    if (statement->column_count == keys) {
        fputs("t.tableoid is not null", out);
        return;
    }
    fputs("coalesce(t.tableoid is not null and ", out);
    put_same_image(out, statement);
    fputs(", false)", out);
}

static bool owns(const struct statement *statement, size_t i)
{
    return i >= statement->entity->key_count && !text_is_null(column_of(statement, i)->owner);
}

/* Whether row t differs from the input in a field that is another's than the writer's. Node names hold no quotes. */
static void put_owned(FILE *out, const struct statement *statement, size_t source)
{
    fputs("coalesce(t.tableoid is not null and (false", out);
    for (size_t i = 0; i < statement->column_count; i++)
        if (owns(statement, i))
            fprintf(out, " or ($%zu::text <> '%.*s' and record_image_ne(row(t.%s), row((k.t%zu)::%s)))", source,
                    TEXT_PRINTF(column_of(statement, i)->owner), column_of(statement, i)->column, i + 1,
                    column_of(statement, i)->exact_type);
    fputs("), false) as owned", out);
}

/* Rows that lie beside each other are found faster one after another; only by types that are sorted faster than found. */
static void put_order(FILE *out, const struct catalog_entity *entity)
{
    static const char *const types[] = {"smallint", "integer", "bigint", "uuid"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (entity->key_count == 1 && strcmp(entity->columns[0].bare_type, types[i]) == 0)
            fputs(" order by c1", out);
}

/* input: the parameters as typed rows, and as text where that is needed, too. The entity as a value of the row: entries of row_version are
 * looked up by it and the key, where by a constant the server might read all that the entity has, if it once had none. */
static void put_input(FILE *out, const struct statement *statement)
{
    size_t n = statement->column_count;
    fprintf(out,
            "with input as materialized (\n  select %d::smallint as entity, i.n, i.ts, i.base_ts, i.base_node, i.seen, i.merge, i.correlation, i.locked",
            statement->entity->id);
    for (size_t i = 0; i < n; i++) {
        fprintf(out, ", (i.t%zu)::%s as c%zu", i + 1, column_of(statement, i)->bare_type, i + 1);
        if (i < statement->entity->key_count || owns(statement, i) || !typed_exactly(statement, i))
            fprintf(out, ", i.t%zu", i + 1);
    }
    fputs("\n    from unnest(", out);
    sql_put_arrays(out, n);
    fprintf(out,
            ", $%zu::bigint[], $%zu::bigint[], $%zu::text[], $%zu::text[], $%zu::text[], $%zu::text[], $%zu::boolean[])"
            " with ordinality as i (",
            n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7);
    sql_put_names(out, "t", n);
    fputs(", ts, base_ts, base_node, seen, merge, correlation, locked, n)", out);
    put_order(out, statement->entity);
    fputs(")", out);
}

/* What a row is taken for that an application may have written without a word to row_version: it has the time of its commit, or comes after
 * what it was written upon as bridge.version_upon says; and it is later than any write of this node's that the change's writer has seen. What
 * it has seen is that entry of row_version, or if there is none all that has been forgotten. */
static void put_view(FILE *out, const struct statement *statement, const struct statement_options *options)
{
    const struct catalog_entity *entity = statement->entity;
    char claims[64] = "null::jsonb";
    if (entity->rules.policy != NULL && entity->rules.policy != policy_default())
        snprintf(claims, sizeof claims, "bridge.certainly_seen(%d::smallint, w.key)", entity->id);
    /* A transaction's own entry may have its number and the row that of a subtransaction: they have one time of commit. */
    static const char committed[] = "(date_part('epoch', pg_xact_commit_timestamp(z.row_xmin)) * 1000000)::bigint";
    char unnoted[320];
    snprintf(unnoted, sizeof unnoted,
             "z.present and z.row_xmin is distinct from coalesce(v.row_xmin, v.xmin) and (v.node = '%s' and v.at_us = %s) is not true",
             options->log_node, committed);
    fprintf(out,
            "  select w.*, case when w.own_us is null then w.entry_ts when w.told_us > w.ahead_us then w.told_us + 1 else w.ahead_us end as row_ts,\n"
            "         case when w.own_us is null then w.entry_node else '%s' end as row_node,\n"
            "         case when w.own_us is null then w.entry_seen\n"
            "              when w.entry_ts is not null then bridge.join_seen(w.entry_seen, null, w.entry_ts, w.entry_node, '%s')\n"
            "              else %s end as row_seen\n"
            "    from (select x.*, greatest(x.own_us, x.entry_ts + greatest(x.own_us / 2 - coalesce(x.at_us, x.entry_ts) / 2, 1)) as ahead_us,\n"
            "                 case when x.own_us is not null then (x.seen::jsonb ->> '%s')::bigint end as told_us\n"
            "    from (select z.*, v.ts as entry_ts, v.node as entry_node, v.seen as entry_seen, v.lsn as entry_lsn, v.over as entry_over, v.at_us,\n"
            "                 v.deleted as entry_deleted, %s as unnoted,\n"
            "                 case when %s then nullif(greatest(%s, %lld), %lld) end as own_us",
            options->log_node, options->log_node, claims, options->log_node, unnoted, unnoted, committed,
            (long long)options->versions_since, (long long)options->versions_since);
}

/* judged: what the row is now, and the verdict: f(resh), s(ame), d(uplicate), x stale, ? for the judge. The key's text, by
 * which versions are kept, is that of the row here: 1.5 finds numeric 1.50. */
static void put_judged(FILE *out, const struct statement *statement, const struct statement_options *options)
{
    /* What is merged is joined, unless the writer had seen all that is in the row (merge_replaces). */
    static const char unseen_format[] =
        "    when exists (select from jsonb_each_text(y.row_seen) s where s.key <> $%zu\n"
        "                  and s.value::bigint > coalesce((y.seen::jsonb ->> s.key)::bigint, 0)) then '?'\n";
    static const char revived_text[] =
        "    when y.present and (y.row_merge -> 'd', y.row_merge -> 's')\n"
        "                       is distinct from (y.merge::jsonb -> 'd', y.merge::jsonb -> 's') then '?'\n";
    const struct catalog_entity *entity = statement->entity;
    size_t source = statement->column_count + 8, force = statement->column_count + 9, horizon = statement->column_count + 10;
    char unseen_text[sizeof unseen_format + sizeof revived_text + 24] = "";
    if (entity->merged)
        snprintf(unseen_text, sizeof unseen_text, unseen_format, source);
    if (entity->merged && entity->update_revives && !statement->deletion)
        strcat(unseen_text, revived_text);
    struct text unseen = text_from(unseen_text);
    fprintf(out,
            ", judged as materialized (\n  select y.*, case\n"
            "    when $%zu::boolean then case when (y.row_ts, y.row_node) is not distinct from (y.base_ts, y.base_node) then 'f' else '?' end\n"
            "    when y.row_ts is null and not y.present and y.ts <= $%zu::bigint then 'x'\n"
            "    when y.row_ts = y.ts and y.row_node = $%zu::text then 'd'\n"
            "    when y.row_node = $%zu and y.row_ts > y.ts then 'x'\n"
            "    when (y.row_seen ->> $%zu)::bigint >= y.ts then 'x'\n"
            "    when y.owned and %s then '?'\n%s"
            "    when y.row_ts is null then 'f'\n"
            "    when y.row_node = $%zu then 'f'\n"
            "    when y.row_ts <= y.base_ts and y.row_node = y.base_node then 'f'\n"
            "    when (y.seen::jsonb ->> y.row_node)::bigint >= y.row_ts then 'f'\n"
            "    when y.equal and not %s then 's'\n"
            "    else '?' end as verdict,\n"
            "    y.ts > y.row_ts or (y.ts = y.row_ts and $%zu > y.row_node collate \"C\") as newer\n  from (\n",
            force, horizon, source, source, source, entity->owns_fields ? "true" : "false", unseen.data, source,
            entity->merged ? "true" : "false", source);
    if (options->log_node != NULL)
        put_view(out, statement, options);
    else
        fputs("  select z.*, v.ts as row_ts, v.node as row_node, v.seen as row_seen", out);
    fprintf(out, ", v.merge as row_merge, %s as equal\n  from (\n"
                 "  select k.entity, k.n, k.ts, k.base_ts, k.base_node, k.seen, k.merge, k.correlation, k.locked, ",
            statement->deletion ? "not z.present and coalesce(v.deleted, false)" : "z.holds");
    sql_put_names(out, "k.c", statement->column_count);
    if (options->log_node != NULL)
        fputs(", t.xmin as row_xmin", out);
    fputs(", t.tableoid is not null as present, t.tableoid as row_table, t.ctid as row_place,\n"
          "         case when t.tableoid is null then ", out);
    sql_put_key_text(out, entity, false);
    fputs(" else ", out);
    sql_put_key_text(out, entity, true);
    fputs(" end as key, ", out);
    if (statement->deletion || options->write_equal)
        fputs("false", out);
    else
        put_equal(out, statement);
    fputs(" as holds, ", out);
    put_owned(out, statement, source);
    fprintf(out, "\n    from input k left join %s t on ", entity->relation);
    put_key_match(out, entity, "t", "k");
    /* A lookup for each row, whatever the statistics: in a plan made while the table was empty all that an entity has would be as cheap to read. */
    fprintf(out, ") z\n    left join lateral (select r.*, r.xmin from bridge.row_version r where r.entity = z.entity and r.key = z.key offset 0) v on true%s) y)",
            options->log_node != NULL ? ") x) w" : "");
}

/* stamped: the versions of what was written; only where the version is still the one that was judged. */
static void put_stamped(FILE *out, const struct statement *statement, const struct statement_options *options, const char *written)
{
    /* Nobody else writes row_version then: bridge.lock_versions. */
    static const char remembered[] =
        "      row_xmin = excluded.row_xmin, lsn = excluded.lsn, at_us = excluded.at_us, over = excluded.over,\n"
        "      former = case when excluded.former is not null or v.former is not null\n"
        "                    then bridge.remember(v, excluded.lsn, excluded.former is null) end,\n";
    char entry[1024] = "";
    if (options->log_node != NULL)
        snprintf(entry, sizeof entry,
                 ",\n         case when j.verdict = 's' or (j.present and j.equal) then j.row_xmin end, pg_current_wal_insert_lsn(),\n"
                 "         case when not j.stands and j.own_us is null then j.at_us else (date_part('epoch', clock_timestamp()) * 1000000)::bigint end,\n"
                 "         case when j.own_us is not null then j.row_xmin end,\n"
                 "         case when j.entry_ts is not null and (j.unnoted or not j.present or ((j.entry_node = '%s' or j.entry_over is not null)\n"
                 "              and j.entry_lsn > (select o.released_lsn from bridge.outbound o))) then '[]'::jsonb end",
                 options->log_node);
    size_t source = statement->column_count + 8;
    fprintf(out,
            ", stamped as (\n  insert into bridge.row_version as v (entity, key, ts, node, deleted, base_ts, base_node, "
            "correlation, seen, merge%s)\n"
            "  select j.entity, j.key, case when j.stands then j.ts else j.row_ts end,\n"
            "         case when j.stands then $%zu::text else j.row_node end, %s, j.row_ts, j.row_node, j.correlation,\n"
            "         case when j.row_node is null or (j.row_node = $%zu and j.row_seen is null and j.seen is null) then j.seen::jsonb\n"
            "              else bridge.join_seen(j.row_seen,\n"
            "                       case when j.stands then j.seen::jsonb else bridge.join_seen(j.seen::jsonb, null, j.ts, $%zu, '') end,\n"
            "                       j.row_ts, j.row_node, case when j.stands then $%zu else j.row_node end) end,\n"
            "         j.merge::jsonb%s\n"
            "    from (select *, verdict <> 's' or newer as stands from judged) j\n"
            "   where (j.verdict = 'f' and (%s))\n"
            "      or (j.verdict = 's' and (j.locked or not j.present))\n"
            "  on conflict (entity, key) do update set ts = excluded.ts, node = excluded.node, deleted = excluded.deleted,\n"
            "      base_ts = excluded.base_ts, base_node = excluded.base_node, correlation = excluded.correlation, seen = excluded.seen,\n"
            "%s      merge = excluded.merge\n"
            "%s"
            "  returning v.key)\n",
            options->log_node != NULL ? ", row_xmin, lsn, at_us, over, former" : "", source,
            statement->deletion ? "true" : "false", source, source, source, entry, written,
            options->log_node != NULL ? remembered : "      at_us = null,\n",
            options->log_node != NULL ? "" : "   where v.ts = excluded.base_ts and v.node = excluded.base_node\n");
}

/* strays: how many rows were written whose version then was another than the one judged. */
static void put_verdicts(FILE *out, const char *strays)
{
    fprintf(out, "select count(*) filter (where verdict = 'f' and done), count(*) filter (where verdict = 'f' and done and equal),\n"
          "       count(*) filter (where verdict = 's' and done), count(*) filter (where verdict = 'd'),\n"
          "       count(*) filter (where verdict = 'x'),\n"
          "       array_agg(n order by n) filter (where verdict = '?' or (verdict in ('f', 's') and not done)),\n"
          "       count(*) filter (where verdict = 'f' and done and owned), %s\n"
          "  from (select j.n, j.verdict, j.owned, j.equal and j.present as equal, j.key in (select s.key from stamped s) as done\n"
          "          from judged j offset 0) r", /* looked up once, not once a figure */
          strays);
}

/* "insert into t (a, b) overriding system value" */
static void put_insert_into(FILE *out, const struct statement *statement)
{
    fprintf(out, "insert into %s as t (", statement->entity->relation);
    for (size_t i = 0; i < statement->column_count; i++)
        fprintf(out, "%s%s", i ? ", " : "", column_of(statement, i)->column);
    fputs(") overriding system value", out);
}

static void put_apply_upsert(FILE *out, const struct statement *statement, const struct statement_options *options)
{
    const struct catalog_entity *entity = statement->entity;
    size_t n = statement->column_count, keys = entity->key_count;
    put_input(out, statement);
    put_judged(out, statement, options);
    if (n > keys) {
        fprintf(out, ", updated as (\n  update %s t set ", entity->relation);
        for (size_t i = keys; i < n; i++) {
            const char *column = column_of(statement, i)->column;
            fprintf(out, "%s%s = ", i > keys ? ", " : "", column);
            if (owns(statement, i))
                fprintf(out, "case when $%zu = '%.*s' then j.c%zu else t.%s end", n + 8,
                        TEXT_PRINTF(column_of(statement, i)->owner), i + 1, column);
            else
                fprintf(out, "j.c%zu", i + 1);
        }
        fputs(" from judged j where j.verdict = 'f' and j.present and not j.equal and ", out);
        put_unchanged_match(out, entity);
        fputs(" returning j.n)", out);
    }
    fputs(", inserted as (\n  ", out);
    put_insert_into(out, statement);
    fputs("\n  select ", out);
    sql_put_names(out, "j.c", n);
    fputs(" from judged j where j.verdict = 'f' and not j.present order by j.n\n  on conflict (", out);
    for (size_t i = 0; i < keys; i++)
        fprintf(out, "%s%s", i ? ", " : "", entity->columns[i].column);
    fputs(") do nothing returning ", out);
    sql_put_key_text(out, entity, true);
    fputs(" as key)", out);
    put_stamped(out, statement, options,
                n > keys ? "(j.present and not j.equal and j.n in (select u.n from updated u))\n"
                           "      or (j.present and j.equal and j.locked) or (not j.present and j.key in (select i.key from inserted i))"
                         : "(j.present and j.locked) or (not j.present and j.key in (select i.key from inserted i))");
    put_verdicts(out, "(select count(*) from inserted i where i.key not in (select s.key from stamped s))");
}

static void put_apply_delete(FILE *out, const struct statement *statement, const struct statement_options *options)
{
    put_input(out, statement);
    put_judged(out, statement, options);
    fprintf(out, ", removed as (\n  delete from %s t using judged j where j.verdict = 'f' and j.present and ",
            statement->entity->relation);
    put_unchanged_match(out, statement->entity);
    fputs(" returning j.n)", out);
    put_stamped(out, statement, options, "not j.present or j.n in (select r.n from removed r)");
    put_verdicts(out, "0");
}

static void put_lock(FILE *out, const struct statement *statement)
{
    const struct catalog_entity *entity = statement->entity;
    fputs("select array_agg(l.n) from (select i.n from unnest(", out);
    sql_put_arrays(out, entity->key_count);
    fputs(") with ordinality as i (", out);
    sql_put_names(out, "t", entity->key_count);
    fprintf(out, ", n) join %s t on ", entity->relation);
    sql_put_raw_key_match(out, entity, "t");
    fprintf(out, " order by i.n for %s of t) l", statement->deletion ? "update" : "no key update");
}

static void put_fetch(FILE *out, const struct statement *statement, const struct statement_options *options)
{
    struct statement_options plain = {.log_node = options->log_node, .versions_since = options->versions_since};
    put_input(out, statement);
    put_judged(out, statement, &plain);
    fputs("\nselect j.key, j.present, v.deleted, j.row_ts, j.row_node, j.row_seen, v.correlation, j.equal, case when j.present then array[", out);
    for (size_t i = 0; i < statement->entity->column_count; i++)
        fprintf(out, "%s%s", i ? ", " : "", statement->entity->columns[i].row_text);
    fprintf(out, "]::text[] end, j.owned, v.merge, %s from judged j left join %s t on ",
            options->log_node != NULL ? "j.row_xmin, j.own_us is not null, j.entry_ts, j.entry_node" : "null, false, j.row_ts, j.row_node",
            statement->entity->relation);
    put_key_match(out, statement->entity, "t", "j");
    fputs(" left join bridge.row_version v on v.entity = j.entity and v.key = j.key order by j.n", out);
}

static void put_create(FILE *out, const struct statement *statement, const struct statement_options *options)
{
    const struct catalog_entity *entity = statement->entity;
    size_t n = statement->column_count, source = n + 8, horizon = n + 10;
    put_input(out, statement);
    fprintf(out, ", news as (\n  select not exists (select from input k where k.ts <= $%zu::bigint or exists (select from %s t where ", horizon, entity->relation);
    put_key_match(out, entity, "t", "k");
    fputs(" offset 0)\n     or exists (select from bridge.row_version v where v.entity = k.entity and v.key = ", out);
    sql_put_key_text(out, entity, false);
    fputs(" offset 0)) as yes)\n, inserted as (\n  ", out);
    put_insert_into(out, statement);
    fputs("\n  select ", out);
    sql_put_names(out, "k.c", n);
    fputs(" from input k where (select yes from news)\n  returning ", out);
    sql_put_key_text(out, entity, true);
    fprintf(out, " as key)\n"
                 ", stamped as (\n  insert into bridge.row_version as v (entity, key, ts, node, deleted, correlation, seen, merge%s)\n  select k.entity, ",
            options->log_node != NULL ? ", lsn, at_us" : "");
    sql_put_key_text(out, entity, false);
    fprintf(out, ", k.ts, $%zu::text, false, k.correlation, k.seen::jsonb, k.merge::jsonb%s\n    from input k where (select yes from news)\n  returning v.key)\n"
                 "select count(*) filter (where i.key in (select s.key from stamped s)), (select count(*) from stamped) from inserted i",
            source, options->log_node != NULL ? ", pg_current_wal_insert_lsn(), (date_part('epoch', clock_timestamp()) * 1000000)::bigint" : "");
}

/* The row is what its version is about when one transaction wrote both: after a wait for another's lock it is not any more. */
static void put_renew(FILE *out, const struct statement *statement, const struct statement_options *options)
{
    const struct catalog_entity *entity = statement->entity;
    size_t n = statement->column_count, keys = entity->key_count, source = n + 8;
    bool from_log = options->log_node != NULL;
    put_input(out, statement);
    fprintf(out, ", renewed as (\n  update %s t set ", entity->relation);
    for (size_t i = keys; i < n; i++)
        fprintf(out, "%s%s = k.c%zu", i > keys ? ", " : "", column_of(statement, i)->column, i + 1);
    fputs("\n    from input k, bridge.row_version v\n   where v.entity = k.entity and v.key = ", out);
    sql_put_key_text(out, entity, false);
    fputs(" and ", out);
    put_key_match(out, entity, "t", "k");
    fprintf(out, "\n     and v.node = $%zu::text and v.ts < k.ts and v.seen is null and k.seen is null and not v.deleted%s\n     and t.xmin = %s and not ",
            source, from_log ? " and v.over is null and v.former is null" : "", from_log ? "coalesce(v.row_xmin, v.xmin)" : "v.xmin");
    put_same_image(out, statement);
    fprintf(out, "\n  returning k.n, k.entity, v.key, k.ts, v.ts as base_ts, k.correlation, k.merge)\n"
                 ", stamped as (\n  update bridge.row_version v\n     set ts = r.ts, base_ts = v.ts, base_node = v.node, correlation = r.correlation, "
                 "merge = r.merge::jsonb, %s\n    from renewed r where v.entity = r.entity and v.key = r.key and v.ts = r.base_ts and v.node = $%zu\n"
                 "  returning r.n)\n"
                 "select case when (select count(*) from stamped) < (select count(*) from input)\n"
                 "            then array(select k.n from input k where (k.n in (select s.n from stamped s)) is not true order by k.n) end,\n"
                 "       (select count(*) from renewed) - (select count(*) from stamped)",
            from_log ? "row_xmin = null, lsn = pg_current_wal_insert_lsn(), at_us = (date_part('epoch', clock_timestamp()) * 1000000)::bigint"
                     : "at_us = null",
            source);
}

static void put_insert(FILE *out, const struct statement *statement)
{
    put_input(out, statement);
    fputc(' ', out);
    put_insert_into(out, statement);
    fputs(" select ", out);
    sql_put_names(out, "i.c", statement->column_count);
    fputs(" from input i", out);
}

static void put_take(FILE *out, const struct statement *statement)
{
    put_input(out, statement);
    fprintf(out, " delete from %s t using input i where ", statement->entity->relation);
    put_key_match(out, statement->entity, "t", "i");
    fputs(" returning t::text", out);
}

static void put_put_back(FILE *out, const struct statement *statement)
{
    const struct catalog_entity *entity = statement->entity;
    put_input(out, statement);
    fprintf(out, " insert into %s (", entity->relation);
    for (size_t i = 0; entity->writable[i] != NULL; i++)
        fprintf(out, "%s%s", i ? ", " : "", entity->writable[i]);
    fputs(") overriding system value select ", out);
    for (size_t i = 0; entity->writable[i] != NULL; i++) {
        size_t position = 0;
        while (position < statement->column_count && strcmp(column_of(statement, position)->column, entity->writable[i]) != 0)
            position++;
        if (position < statement->column_count)
            fprintf(out, "%si.c%zu", i ? ", " : "", position + 1);
        else
            fprintf(out, "%s(o.taken).%s", i ? ", " : "", entity->writable[i]);
    }
    fprintf(out, " from input i, (select ($%zu::text)::%s as taken) o", statement->column_count + 11, entity->relation);
}

char *statement_sql(const struct statement *statement, enum statement_kind kind, const struct statement_options *options)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = sql_open(&text, &length);
    assert(kind < STATEMENT_KINDS);
    switch (kind) {
    case STATEMENT_LOCK:
        put_lock(out, statement);
        break;
    case STATEMENT_APPLY:
        if (statement->deletion)
            put_apply_delete(out, statement, options);
        else
            put_apply_upsert(out, statement, options);
        break;
    case STATEMENT_FETCH:
        put_fetch(out, statement, options);
        break;
    case STATEMENT_CREATE:
        put_create(out, statement, options);
        break;
    case STATEMENT_RENEW:
        put_renew(out, statement, options);
        break;
    case STATEMENT_INSERT:
        put_insert(out, statement);
        break;
    case STATEMENT_TAKE:
        put_take(out, statement);
        break;
    case STATEMENT_PUT_BACK:
        put_put_back(out, statement);
        break;
    case STATEMENT_KINDS:
        break;
    }
    fclose(out);
    return text;
}
