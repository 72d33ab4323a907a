#include "adapters/postgres/install_script.h"

#include <stdlib.h>
#include <string.h>

#include "adapters/postgres/sql.h"
#include "bridge/base/limits.h"
#include "bridge/base/memory.h"
#include "bridge/flow/policy.h"
#include "bridge/message/digest.h"

static FILE *script_open(char **script, size_t *length)
{
    FILE *out = open_memstream(script, length);
    if (out == NULL)
        memory_exhausted(__func__);
    return out;
}

/* ---- quoting, for names and texts of the config ---- */

static void put_quoted(FILE *out, const char *text, char quote)
{
    fputc(quote, out);
    for (; *text; text++) {
        if (*text == quote)
            fputc(quote, out);
        fputc(*text, out);
    }
    fputc(quote, out);
}

static void put_literal(FILE *out, const char *text)
{
    put_quoted(out, text, '\'');
}

static void put_table(FILE *out, const struct entity_config *entity)
{
    put_quoted(out, entity->schema ? entity->schema : "public", '"');
    fputc('.', out);
    put_quoted(out, entity->table, '"');
}

static void put_relation(FILE *out, const struct entity_config *entity)
{
    char *name = NULL;
    size_t length = 0;
    FILE *buffer = open_memstream(&name, &length);
    put_table(buffer, entity);
    fclose(buffer);
    put_literal(out, name);
    fputs("::regclass::text", out);
    free(name);
}

static void put_array(FILE *out, char *const *texts, size_t count)
{
    fputs("array[", out);
    for (size_t i = 0; i < count; i++) {
        fputs(i ? ", " : "", out);
        put_literal(out, texts[i]);
    }
    fputs("]::text[]", out);
}

static void put_counters(FILE *out, const struct entity_config *entity)
{
    bool any = false;
    fputs(", array[", out);
    for (size_t i = 0; i < entity->field_count; i++) {
        if (!entity->fields[i].counter)
            continue;
        fputs(any ? ", " : "", out);
        put_literal(out, entity->fields[i].field);
        any = true;
    }
    fputs("]::text[]", out);
}

static void put_names(FILE *out, const struct entity_config *entity, bool columns)
{
    fputs("array[", out);
    for (size_t i = 0; i < entity->field_count; i++) {
        fputs(i ? ", " : "", out);
        put_literal(out, columns ? entity->fields[i].column : entity->fields[i].field);
    }
    fputs("]", out);
}

static void put_retry(FILE *out, const struct entity_config *entity)
{
    const struct retry_rules *retry = &entity->retry;
    fprintf(out, "update bridge.entity set retry_base = '%d s', retry_factor = %d, retry_cap = '%d s', max_attempts = %d where name = ",
            retry->base_s, retry->factor, retry->cap_s, retry->max_attempts);
    put_literal(out, entity->name);
    fputs(";\n", out);
}

/* ---- schema, mapping, capture ---- */

static int file_number(const char *name)
{
    const char *base = strrchr(name, '/');
    return atoi(base ? base + 1 : name);
}

static bool is_in(const char *name, const char *directory)
{
    return strncmp(name, directory, strlen(directory)) == 0;
}

static void put_schema(FILE *out, const char *role, int version)
{
    /* Names must come out with their schema, in psql as here. */
    fputs("set local search_path = pg_catalog, pg_temp;\nset local bridge.role = ", out);
    put_literal(out, role);
    fputs(";\n", out);
    for (unsigned i = 0; i < sql_file_count; i++) {
        int number = file_number(sql_files[i].name);
        if (!is_in(sql_files[i].name, "install/") || (number > 0 && number <= version))
            continue;
        fprintf(out, "\n-- %s\n%s", sql_files[i].name, sql_files[i].text);
        if (number > 0)
            fprintf(out, "insert into bridge.version (number, name) values (%d, '%s');\n", number, sql_files[i].name);
    }
    static const char *const directories[] = {"functions/", "views/"};
    for (size_t d = 0; d < 2; d++)
        for (unsigned i = 0; i < sql_file_count; i++)
            if (is_in(sql_files[i].name, directories[d]))
                fprintf(out, "\n-- %s\n%s", sql_files[i].name, sql_files[i].text);
}

static void put_ending(FILE *out)
{
    fputs("select bridge.refresh_entity_state();\nselect bridge.grant_adapter();\nselect bridge.own();\n", out);
}

static void put_mapping(FILE *out, const struct config *config, const char *role, bool guarded)
{
    fputs("\n-- this node, its peers and its entities\n"
          "insert into bridge.node (name, adapter_role, exchange, queue) values (",
          out);
    put_literal(out, config->node);
    fputs(", ", out);
    put_literal(out, role);
    fputs(", ", out);
    put_literal(out, config->broker.exchange);
    fputs(", ", out);
    put_literal(out, config->broker.queue);
    fputs(")\n    on conflict (only_row) do update set name = excluded.name, adapter_role = excluded.adapter_role,\n"
          "    exchange = excluded.exchange, queue = excluded.queue;\n"
          "delete from bridge.peer where name <> all (",
          out);
    put_array(out, config->peers, config->peer_count);
    fputs(");\ninsert into bridge.peer (name) select unnest(", out);
    put_array(out, config->peers, config->peer_count);
    fputs(") on conflict do nothing;\n", out);
    fprintf(out, "update bridge.node set wal_keep_max = %zu;\n", config->wal_keep_max_bytes);
    fputs("select bridge.unmap_entity(name) from bridge.entity where active and name <> all (array[", out);
    for (size_t i = 0; i < config->entity_count; i++) {
        fputs(i ? ", " : "", out);
        put_literal(out, config->entities[i].name);
    }
    fputs("]::text[]);\n", out);
    for (size_t i = 0; i < config->entity_count; i++) {
        const struct entity_config *entity = &config->entities[i];
        fputs("select bridge.map_entity(", out);
        put_literal(out, entity->name);
        fputs(", ", out);
        put_relation(out, entity);
        fprintf(out, ", %zu, ", entity->key_count);
        put_names(out, entity, false);
        fputs(", ", out);
        put_names(out, entity, true);
        fprintf(out, ", '%s', '%s', %s, ", entity->triggers == TRIGGERS_FIRE ? "fire" : "suppress",
                entity->truncate == TRUNCATE_REFUSE ? "refuse" : "capture", entity->coalesce ? "true" : "false");
        put_literal(out, entity->policy->name);
        fputs(", ", out);
        put_array(out, entity->priority, entity->priority_count);
        put_counters(out, entity);
        fprintf(out, ", %s%s);\n", entity->update_revives ? "true" : "false", guarded ? "" : ", guarded => false");
        put_retry(out, entity);
        fprintf(out, "update bridge.entity set max_changes_per_second = nullif(%d, 0) where name = ", entity->max_changes_per_second);
        put_literal(out, entity->name);
        fputs(";\n", out);
    }
    put_ending(out);
}

/* Where changes are found. Of the log a slot has to be there before it counts; then capture goes over from one to the other at one moment. */
static void put_capture(FILE *out, const struct config *config)
{
    fprintf(out, "select bridge.switch_capture('%s');\n", capture_name(config->capture));
    put_ending(out);
}

/* ---- whole scripts ---- */

struct install_scripts install_scripts_make(const struct config *config, const char *role, int version, bool guarded)
{
    struct install_scripts scripts = {0};
    size_t length = 0;
    FILE *out = script_open(&scripts.first, &length);
    put_schema(out, role, version);
    fprintf(out, "select bridge.check_switch('%s');\n", capture_name(config->capture));
    put_mapping(out, config, role, guarded);
    bool twice = config->capture == CAPTURE_WAL;
    if (twice)
        fputs("select bridge.publish();\ndelete from bridge.fingerprint where name = 'install';\n", out);
    else
        put_capture(out, config);
    fclose(out);
    out = script_open(&scripts.second, &length);
    if (twice)
        put_capture(out, config);
    fclose(out);
    return scripts;
}

void install_scripts_free(struct install_scripts *scripts)
{
    free(scripts->first);
    free(scripts->second);
}

void install_scripts_fingerprint(const struct config *config, const char *role, bool guarded, char out[static 65])
{
    struct install_scripts scripts = install_scripts_make(config, role, -1, guarded);
    struct arena arena;
    arena_init(&arena, LIMIT_ARENA_BYTES);
    digest_bytes(arena_printf(&arena, "%s%s", scripts.first, scripts.second), out);
    arena_free(&arena);
    install_scripts_free(&scripts);
}

void install_scripts_print(FILE *out, const struct config *config, const struct install_scripts *scripts, const char *fingerprint)
{
    fprintf(out, "begin;\n%s", scripts->first);
    if (config->capture == CAPTURE_WAL)
        fprintf(out, "commit;\n\n%s;\nbegin;\nset local search_path = pg_catalog, pg_temp;\n", sql_text("queries/install_slot"));
    fprintf(out, "%s\ninsert into bridge.fingerprint values ('install', '%s')\n"
                 "    on conflict (name) do update set value = excluded.value;\ncommit;\n",
            scripts->second, fingerprint);
}

char *install_script_lock(const struct config *config, size_t first)
{
    char *script;
    size_t length;
    FILE *out = script_open(&script, &length);
    for (size_t i = 0; i < config->entity_count; i++) {
        fputs(i == 0 ? "lock table " : ", ", out);
        put_table(out, &config->entities[(first + i) % config->entity_count]);
    }
    fputs(" in share row exclusive mode", out);
    fclose(out);
    return script;
}

char *install_script_removal(const char *role)
{
    char *script;
    size_t length;
    FILE *out = script_open(&script, &length);
    fputs("set local bridge.role = ", out);
    put_literal(out, role);
    fprintf(out, ";\n%s", sql_text("queries/uninstall"));
    fclose(out);
    return script;
}
