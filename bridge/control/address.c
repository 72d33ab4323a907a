#include "bridge/control/address.h"

#include <stdlib.h>

#include "bridge/control/name.h"

enum { ADDRESS_PART_BYTES = 255 }; /* AMQP's short string; a DNS name is no longer either */

/* ---- pieces ------------------------------------------------------------------------------------------------------ */

static struct text part(struct text t, size_t from, size_t to)
{
    return (struct text){t.data + from, to - from};
}

/* t.length when there is none. */
static size_t find(struct text t, size_t from, char c)
{
    const char *at = from < t.length ? memchr(t.data + from, c, t.length - from) : NULL;
    return at == NULL ? t.length : (size_t)(at - t.data);
}

static bool has_prefix(struct text t, const char *prefix)
{
    size_t length = strlen(prefix);
    return t.length >= length && memcmp(t.data, prefix, length) == 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_value(char c)
{
    if (is_digit(c))
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool parse_port(struct text digits, int *port)
{
    int value = 0;
    if (digits.length == 0 || digits.length > 5)
        return false;
    for (size_t i = 0; i < digits.length; i++) {
        if (!is_digit(digits.data[i]))
            return false;
        value = value * 10 + (digits.data[i] - '0');
    }
    *port = value;
    return value >= 1 && value <= 65535;
}

/* Into decoded, which has room for the encoded bytes and a NUL. */
static bool decode_into(char *decoded, struct text encoded)
{
    size_t length = 0;
    for (size_t i = 0; i < encoded.length; i++) {
        int value = (unsigned char)encoded.data[i];
        if (value == '%') {
            if (i + 2 >= encoded.length || hex_value(encoded.data[i + 1]) < 0 || hex_value(encoded.data[i + 2]) < 0)
                return false;
            value = hex_value(encoded.data[i + 1]) * 16 + hex_value(encoded.data[i + 2]);
            i += 2;
        }
        if (value < 0x20 || value == 0x7F || length == ADDRESS_PART_BYTES)
            return false;
        decoded[length++] = (char)value;
    }
    decoded[length] = '\0';
    return text_is_utf8((struct text){decoded, length});
}

/* A new string, or NULL when an escape is malformed or the result is no text: control characters, bad UTF-8, too long.
 */
static char *percent_decode(struct text encoded)
{
    char *decoded = name_copy(encoded);
    if (decode_into(decoded, encoded))
        return decoded;
    explicit_bzero(decoded, encoded.length);
    free(decoded);
    return NULL;
}

/* A name, an IPv4 address, or with brackets an IPv6 address: what could be one. The resolver has the last word. */
static bool is_host(struct text host, bool bracketed)
{
    if (host.length == 0 || host.length > ADDRESS_PART_BYTES)
        return false;
    size_t colons = 0;
    for (size_t i = 0; i < host.length; i++) {
        char c = host.data[i];
        colons += c == ':';
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        bool fits = bracketed ? hex_value(c) >= 0 || c == ':' || c == '.'
                              : letter || is_digit(c) || c == '.' || c == '-' || c == '_';
        if (!fits)
            return false;
    }
    return !bracketed || colons >= 2;
}

struct host_port {
    struct text host; /* without brackets; empty when nothing stands before the colon */
    struct text port; /* null when there is no colon */
};

static bool split_host_port(struct text t, struct host_port *split)
{
    bool bracketed = t.length > 0 && t.data[0] == '[';
    size_t end = bracketed ? find(t, 0, ']') : find(t, 0, ':');
    if (bracketed && end == t.length)
        return false;
    split->host = bracketed ? part(t, 1, end) : part(t, 0, end);
    if (bracketed)
        end++;
    if (end < t.length && t.data[end] != ':')
        return false;
    split->port = end < t.length ? part(t, end + 1, t.length) : TEXT_NULL;
    return (!bracketed && split->host.length == 0) || is_host(split->host, bracketed);
}

static bool refuse(struct error *error, const char *what, const char *hint)
{
    error_set(error, FAULT_OPERATOR, NULL, "%s", what);
    return hint == NULL ? false : error_hint(error, "%s", hint);
}

/* ---- broker ------------------------------------------------------------------------------------------------------ */

static void free_parts(struct broker_config *broker)
{
    free(broker->url);
    free(broker->host);
    free(broker->user);
    if (broker->password != NULL)
        explicit_bzero(broker->password, strlen(broker->password));
    free(broker->password);
    free(broker->vhost);
}

/* user[:password] before the @. */
static bool parse_userinfo(struct text userinfo, struct broker_config *parts, struct error *error)
{
    size_t colon = find(userinfo, 0, ':');
    if (colon == 0)
        return refuse(error, "the broker's url has an @ but no user before it", NULL);
    parts->user = percent_decode(part(userinfo, 0, colon));
    if (parts->user == NULL)
        return refuse(error, "the user in the broker's url is malformed", "Signs in it are percent-encoded: %40 is @");
    if (colon == userinfo.length)
        return true;
    parts->password = percent_decode(part(userinfo, colon + 1, userinfo.length));
    if (parts->password == NULL)
        return refuse(error, "the password in the broker's url is malformed",
                      "Signs in it are percent-encoded; better still, put it into a file and name it as password_file");
    return true;
}

static bool parse_vhost(struct text path, struct broker_config *parts, struct error *error)
{
    if (find(path, 0, '/') < path.length)
        return refuse(error, "the virtual host in the broker's url has a slash", "Write %2F for a slash in its name");
    parts->vhost = path.length == 0 ? name_copy(TEXT_LITERAL("/")) : percent_decode(path);
    return parts->vhost != NULL ||
           refuse(error, "the virtual host in the broker's url is malformed", "Signs in it are percent-encoded");
}

static bool parse_authority(struct text authority, struct broker_config *parts, struct error *error)
{
    size_t at = find(authority, 0, '@');
    if (at < authority.length) {
        if (!parse_userinfo(part(authority, 0, at), parts, error))
            return false;
        authority = part(authority, at + 1, authority.length);
    }
    struct host_port split;
    if (find(authority, 0, '@') < authority.length)
        return refuse(error, "the broker's url has more than one @", "In user and password write %40 for @");
    if (!split_host_port(authority, &split) || split.host.length == 0)
        return refuse(error, "the broker's url has no valid host",
                      "amqp://user@host:5672/vhost; an IPv6 address stands in brackets: amqp://user@[::1]:5672/vhost");
    parts->host = name_copy(split.host);
    parts->port = parts->tls ? 5671 : 5672;
    if (!text_is_null(split.port) && !parse_port(split.port, &parts->port))
        return refuse(error, "the port in the broker's url is not a number from 1 to 65535", NULL);
    return true;
}

/* The url as it was written, but for the password. */
static char *masked_url(struct text url, size_t authority, bool password)
{
    char *masked = name_copy(url);
    if (!password)
        return masked;
    size_t colon = find(url, authority, ':');
    size_t at = find(url, authority, '@');
    memmove(masked + colon, masked + at, url.length - at + 1);
    explicit_bzero(masked + url.length - (at - colon), at - colon);
    return masked;
}

static bool parse_broker(struct text url, struct broker_config *parts, struct error *error)
{
    parts->tls = has_prefix(url, "amqps://");
    if (!parts->tls && !has_prefix(url, "amqp://"))
        return refuse(error, "the broker's url does not begin with amqp:// or amqps://", NULL);
    for (size_t i = 0; i < url.length; i++)
        if ((unsigned char)url.data[i] <= 0x20 || url.data[i] == 0x7F)
            return refuse(error, "the broker's url has a blank or control character", "Write %20 for a blank");
    if (find(url, 0, '?') < url.length || find(url, 0, '#') < url.length)
        return refuse(error, "the broker's url has a ? or #, and takes no options",
                      "heartbeat, ca_file, cert_file and key_file are keys of their own");
    size_t authority = strlen(parts->tls ? "amqps://" : "amqp://");
    size_t slash = find(url, authority, '/');
    if (!parse_authority(part(url, authority, slash), parts, error))
        return false;
    if (!parse_vhost(part(url, slash < url.length ? slash + 1 : slash, url.length), parts, error))
        return false;
    parts->url = masked_url(url, authority, parts->password != NULL);
    return true;
}

bool address_parse_broker(struct text url, struct broker_config *broker, struct error *error)
{
    struct broker_config parts = {0};
    if (!parse_broker(url, &parts, error)) {
        free_parts(&parts);
        return false;
    }
    broker->url = parts.url;
    broker->tls = parts.tls;
    broker->host = parts.host;
    broker->port = parts.port;
    broker->user = parts.user;
    broker->password = parts.password;
    broker->vhost = parts.vhost;
    return true;
}

/* ---- listener ---------------------------------------------------------------------------------------------------- */

bool address_parse_listener(struct text address, char **host, int *port, struct error *error)
{
    struct host_port split;
    int number;
    if (!split_host_port(address, &split) || text_is_null(split.port) || !parse_port(split.port, &number))
        return refuse(error, "this is not an address to listen on",
                      "host:port, \"[::1]:9187\" (in quotes, or YAML takes it for a list), or :9187 for 127.0.0.1");
    *host = name_copy(split.host.length > 0 ? split.host : TEXT_LITERAL("127.0.0.1"));
    *port = number;
    return true;
}

/* ---- conninfo ---------------------------------------------------------------------------------------------------- */

static bool refuse_password(struct error *error)
{
    return refuse(error, "the database's conninfo carries a password, and conninfo is shown in status and log",
                  "Put it into a file and name it as database_password_file; PGPASSFILE, ~/.pgpass and service files "
                  "work as well");
}

static bool refuse_conninfo(struct error *error)
{
    return refuse(error, "the database's conninfo is malformed",
                  "host=/run/postgresql dbname=shop user=pgbridge; a value with blanks stands in single quotes");
}

static bool is_secret(struct text keyword)
{
    return text_equal(keyword, TEXT_LITERAL("password")) || text_equal(keyword, TEXT_LITERAL("sslpassword"));
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static size_t skip_blanks(struct text t, size_t at)
{
    while (at < t.length && is_blank(t.data[at]))
        at++;
    return at;
}

/* The end of a value, quoted or not, as libpq finds it; 0 when a quote is not closed. */
static size_t skip_value(struct text t, size_t at)
{
    bool quoted = at < t.length && t.data[at] == '\'';
    for (at += quoted; at < t.length; at++) {
        if (quoted ? t.data[at] == '\'' : is_blank(t.data[at]))
            return at + quoted;
        if (t.data[at] == '\\' && at + 1 < t.length)
            at++;
    }
    return quoted ? 0 : at;
}

/* keyword = value ... */
static bool check_keywords(struct text conninfo, struct error *error)
{
    size_t at = skip_blanks(conninfo, 0);
    while (at < conninfo.length) {
        size_t end = at;
        while (end < conninfo.length && conninfo.data[end] != '=' && !is_blank(conninfo.data[end]))
            end++;
        struct text keyword = part(conninfo, at, end);
        at = skip_blanks(conninfo, end);
        if (keyword.length == 0 || at == conninfo.length || conninfo.data[at] != '=')
            return refuse_conninfo(error);
        if (is_secret(keyword))
            return refuse_password(error);
        at = skip_value(conninfo, skip_blanks(conninfo, at + 1));
        if (at == 0)
            return refuse_conninfo(error);
        at = skip_blanks(conninfo, at);
    }
    return true;
}

/* postgresql://[user[:password]@]hosts[/dbname][?keyword=value&...], the keywords percent-encoded as well. */
static bool check_uri(struct text uri, size_t authority, struct error *error)
{
    /* libpq takes everything up to the first @ before the next slash as user and password. */
    size_t at = authority;
    while (at < uri.length && uri.data[at] != '@' && uri.data[at] != '/')
        at++;
    if (at < uri.length && uri.data[at] == '@' && find(uri, authority, ':') < at)
        return refuse_password(error);
    for (size_t from = find(uri, authority, '?') + 1; from < uri.length; from = find(uri, from, '&') + 1) {
        char *keyword = percent_decode(part(uri, from, find(uri, from, '=')));
        if (keyword == NULL)
            return refuse_conninfo(error);
        bool secret = is_secret(text_from(keyword));
        free(keyword);
        if (secret)
            return refuse_password(error);
    }
    return true;
}

bool address_check_conninfo(struct text conninfo, struct error *error)
{
    static const char *const schemes[] = {"postgresql://", "postgres://"};
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (has_prefix(conninfo, schemes[i]))
            return check_uri(conninfo, strlen(schemes[i]), error);
    return check_keywords(conninfo, error);
}
