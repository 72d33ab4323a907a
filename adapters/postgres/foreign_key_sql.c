#include "adapters/postgres/foreign_key_sql.h"

#include "adapters/postgres/compose.h"

static void put_keys_from(FILE *out, const struct catalog_entity *entity, const char *alias)
{
    fputs(" from unnest(", out);
    sql_put_arrays(out, entity->key_count);
    fputs(") with ordinality as i (", out);
    sql_put_names(out, "t", entity->key_count);
    fprintf(out, ", n) join %s %s on ", entity->relation, alias);
    sql_put_raw_key_match(out, entity, alias);
}

char *foreign_key_child_check(const struct catalog_entity *entity, const struct catalog_foreign_key *key)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = sql_open(&text, &length);
    fputs("with written as materialized (select i.n", out);
    for (size_t i = 0; i < key->width; i++)
        fprintf(out, ", c.%s as r%zu", key->child_columns[i], i + 1);
    put_keys_from(out, entity, "c");
    fputs(" where ", out);
    for (size_t i = 0; i < key->width; i++)
        fprintf(out, "%sc.%s is not null", i ? " and " : "", key->child_columns[i]);
    fputs("), held as materialized (select ", out);
    for (size_t i = 0; i < key->width; i++)
        fprintf(out, "%sp.%s as r%zu", i ? ", " : "", key->parent_columns[i], i + 1);
    fputs(" from (select distinct ", out);
    sql_put_names(out, "r", key->width);
    fprintf(out, " from written) w join %s p on ", key->parent);
    for (size_t i = 0; i < key->width; i++)
        fprintf(out, "%sp.%s = w.r%zu", i ? " and " : "", key->parent_columns[i], i + 1);
    /* The lock keeps the parent until commit, as the foreign key's own trigger would. */
    fputs(key->lockable ? " for key share of p" : "", out);
    /* "not in" becomes one hash table; neither side has nulls. */
    fputs(") select array_agg(w.n) from written w where (", out);
    sql_put_names(out, "w.r", key->width);
    fputs(") not in (select ", out);
    sql_put_names(out, "h.r", key->width);
    fputs(" from held h)", out);
    fclose(out);
    return text;
}

char *foreign_key_referenced_values(const struct catalog_entity *entity, const struct catalog_foreign_key *key)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = sql_open(&text, &length);
    fputs("select i.n", out);
    for (size_t i = 0; i < key->width; i++)
        fprintf(out, ", %s", key->parent_texts[i]);
    put_keys_from(out, entity, "p");
    fclose(out);
    return text;
}

char *foreign_key_own_child(const struct catalog_entity *entity, const struct catalog_foreign_key *key,
                          const struct catalog_entity *child, bool from_log)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = sql_open(&text, &length);
    fputs("select exists (select", out);
    put_keys_from(out, entity, "p");
    fprintf(out, " join %s t on ", key->child);
    for (size_t i = 0; i < key->width; i++)
        fprintf(out, "%st.%s = p.%s", i ? " and " : "", key->child_columns[i], key->parent_columns[i]);
    if (child != NULL) {
        fprintf(out, " left join lateral (select r.node, r.row_xmin, r.xmin from bridge.row_version r where r.entity = %d and r.key = ", child->id);
        sql_put_key_text(out, child, true);
        fputs(" offset 0) v on true", out);
        /* What no entry is about an application here has written. */
        fprintf(out, " where coalesce(v.node = $%zu%s, true)", entity->key_count + 1,
                from_log ? " or t.xmin is distinct from coalesce(v.row_xmin, v.xmin)" : "");
    } else {
        fprintf(out, " where $%zu::text is not null", entity->key_count + 1);
    }
    fputs(")", out);
    fclose(out);
    return text;
}

char *foreign_key_parent_check(const struct catalog_foreign_key *key)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = sql_open(&text, &length);
    fputs("select array_agg(distinct r.n) from unnest(", out);
    sql_put_arrays(out, key->width);
    fputs(") with ordinality as r (", out);
    sql_put_names(out, "t", key->width);
    fprintf(out, ", n) join %s c on ", key->child);
    for (size_t i = 0; i < key->width; i++)
        fprintf(out, "%sc.%s = r.t%zu::%s", i ? " and " : "", key->child_columns[i], i + 1, key->parent_types[i]);
    fprintf(out, " where not exists (select from %s p where ", key->parent);
    for (size_t i = 0; i < key->width; i++)
        fprintf(out, "%sp.%s = c.%s", i ? " and " : "", key->parent_columns[i], key->child_columns[i]);
    fputs(")", out);
    fclose(out);
    return text;
}
