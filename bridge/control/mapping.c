#include "bridge/control/mapping.h"

#include "bridge/base/limits.h"
#include "bridge/control/name.h"

/* A name while it is being read. */
struct identifier {
    char bytes[LIMIT_NAME_BYTES];
    size_t length;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static struct text trim(struct text t)
{
    while (t.length > 0 && is_blank(t.data[0]))
        t = (struct text){t.data + 1, t.length - 1};
    while (t.length > 0 && is_blank(t.data[t.length - 1]))
        t.length--;
    return t;
}

static void skip(struct text *rest, size_t bytes)
{
    rest->data += bytes;
    rest->length -= bytes;
}

/* PostgreSQL's lexer: letters, _ and every byte of a multi-byte character; digits and $ not in front. */
static bool is_identifier_byte(char c, bool first)
{
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || ((unsigned char)c & 0x80) != 0)
        return true;
    return !first && ((c >= '0' && c <= '9') || c == '$');
}

static bool append(struct identifier *identifier, char c, struct error *error)
{
    /* PostgreSQL would cut a longer name silently, and another column could be meant. */
    if (identifier->length == LIMIT_NAME_BYTES)
        return error_set(error, FAULT_OPERATOR, NULL, "a name is longer than %d bytes", LIMIT_NAME_BYTES);
    identifier->bytes[identifier->length++] = c;
    return true;
}

static bool take_quoted(struct text source, struct text *rest, struct identifier *identifier, struct error *error)
{
    for (skip(rest, 1); rest->length > 0; skip(rest, 1)) {
        if (rest->data[0] == '"') {
            if (rest->length == 1 || rest->data[1] != '"') {
                skip(rest, 1);
                if (identifier->length == 0)
                    return error_set(error, FAULT_OPERATOR, NULL, "an empty pair of double quotes is not a name");
                return true;
            }
            skip(rest, 1);
        }
        if (!append(identifier, rest->data[0], error))
            return false;
    }
    error_set(error, FAULT_OPERATOR, NULL, "a double quote is not closed in '%.*s'", name_shown(source), source.data);
    return error_hint(error, "In a [list], a name with a comma, bracket or colon needs YAML's quotes around it too: "
                             "'total = \"a, b\"'");
}

static bool take_plain(struct text *rest, struct identifier *identifier, struct error *error)
{
    while (rest->length > 0 && is_identifier_byte(rest->data[0], identifier->length == 0)) {
        char c = rest->data[0];
        if (!append(identifier, (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c), error))
            return false;
        skip(rest, 1);
    }
    return true;
}

/* One SQL name from the front of rest, and the blanks around it. */
static bool take_identifier(struct text source, struct text *rest, struct identifier *identifier, struct error *error)
{
    *rest = trim(*rest);
    identifier->length = 0;
    bool quoted = rest->length > 0 && rest->data[0] == '"';
    if (quoted ? !take_quoted(source, rest, identifier, error) : !take_plain(rest, identifier, error))
        return false;
    *rest = trim(*rest);
    if (identifier->length > 0)
        return true;
    if (rest->length == 0)
        return error_set(error, FAULT_OPERATOR, NULL, "a name is missing in '%.*s'", name_shown(source), source.data);
    error_set(error, FAULT_OPERATOR, NULL, "'%.*s' does not begin like an SQL name", name_shown(*rest), rest->data);
    return error_hint(error, "Put such a name in double quotes");
}

static bool refuse_rest(const char *what, struct text source, struct text rest, struct error *error)
{
    error_set(error, FAULT_OPERATOR, NULL, "'%.*s' is not the name of a %s: unexpected '%.*s'", name_shown(source),
              source.data, what, name_shown(rest), rest.data);
    if (rest.data[0] == '.')
        return error_hint(error, "%s; a name that contains a dot needs double quotes",
                          what[0] == 'c' ? "Columns are written without table"
                                         : "Write schema.table, without database");
    return error_hint(error, "A name with blanks, signs or other special characters needs double quotes");
}

static bool take_column(struct text source, struct text rest, struct identifier *column, struct error *error)
{
    if (!take_identifier(source, &rest, column, error))
        return false;
    return rest.length == 0 || refuse_rest("column", source, rest, error);
}

static bool check_field(struct text source, struct text field, struct error *error)
{
    if (field.length == 0)
        return error_set(error, FAULT_OPERATOR, NULL, "the canonical name is missing in '%.*s'", name_shown(source),
                         source.data);
    if (field.length > LIMIT_NAME_BYTES)
        return error_set(error, FAULT_OPERATOR, NULL, "a name is longer than %d bytes", LIMIT_NAME_BYTES);
    for (size_t i = 0; i < field.length; i++) {
        unsigned char c = (unsigned char)field.data[i];
        if (c < 0x20 || c == 0x7F)
            return error_set(error, FAULT_OPERATOR, NULL, "a canonical name has a control character");
        if (c == '=') {
            error_set(error, FAULT_OPERATOR, NULL, "a canonical name has a \"=\" in '%.*s'", name_shown(source),
                      source.data);
            return error_hint(error, "Give the column another canonical name: total = \"a=b\"");
        }
    }
    return true;
}

static struct text view(const struct identifier *identifier)
{
    return (struct text){identifier->bytes, identifier->length};
}

static bool finish(struct text source, struct text field, struct text column, struct mapping *mapping,
                   struct error *error)
{
    if (!check_field(source, field, error))
        return false;
    mapping->field = name_copy(field);
    mapping->column = name_copy(column);
    return true;
}

static bool check_source(struct text source, struct error *error)
{
    if (source.length == 0)
        return error_set(error, FAULT_OPERATOR, NULL, "a name is empty");
    if (!text_is_utf8(source))
        return error_set(error, FAULT_OPERATOR, NULL, "a name is not valid UTF-8");
    return true;
}

bool mapping_parse(struct text source, struct mapping *mapping, struct error *error)
{
    source = trim(source);
    if (!check_source(source, error))
        return false;
    struct text rest = source;
    struct identifier column;
    if (rest.data[0] == '"') {
        struct identifier left;
        if (!take_identifier(source, &rest, &left, error))
            return false;
        if (rest.length == 0)
            return finish(source, view(&left), view(&left), mapping, error);
        if (rest.data[0] != '=')
            return refuse_rest("column", source, rest, error);
        skip(&rest, 1);
        return take_column(source, rest, &column, error) && finish(source, view(&left), view(&column), mapping, error);
    }
    const char *equals = memchr(source.data, '=', source.length);
    if (equals == NULL)
        return take_column(source, source, &column, error) &&
               finish(source, view(&column), view(&column), mapping, error);
    struct text field = trim((struct text){source.data, (size_t)(equals - source.data)});
    if (memchr(field.data, '"', field.length) != NULL)
        return error_set(error, FAULT_OPERATOR, NULL, "a double quote stands within the canonical name in '%.*s'",
                         name_shown(source), source.data);
    skip(&rest, (size_t)(equals - source.data) + 1);
    return take_column(source, rest, &column, error) && finish(source, field, view(&column), mapping, error);
}

bool mapping_parse_table(struct text source, char **schema, char **table, struct error *error)
{
    source = trim(source);
    if (!check_source(source, error))
        return false;
    struct text rest = source;
    struct identifier first, second;
    if (!take_identifier(source, &rest, &first, error))
        return false;
    if (rest.length == 0) {
        *schema = NULL;
        *table = name_copy(view(&first));
        return true;
    }
    if (rest.data[0] != '.')
        return refuse_rest("table", source, rest, error);
    skip(&rest, 1);
    if (!take_identifier(source, &rest, &second, error))
        return false;
    if (rest.length > 0)
        return refuse_rest("table", source, rest, error);
    *schema = name_copy(view(&first));
    *table = name_copy(view(&second));
    return true;
}
