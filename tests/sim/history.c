#include "tests/sim/history.h"

#include <string.h>

int stamp_compare(struct stamp a, struct stamp b)
{
    if (a.us != b.us)
        return a.us < b.us ? -1 : 1;
    return a.us == 0 ? 0 : a.node - b.node;
}

void history_clear(struct history *history)
{
    memset(history->counts, 0, sizeof history->counts);
}

int history_add(struct history *history, size_t row, struct stamp version, past before, const struct content *content)
{
    size_t number = 0;
    while (number < history->counts[row] && history->writes[row][number].state != WRITTEN_FREE)
        number++;
    if (number == WRITES_MAX)
        return NOBODY;
    if (number == history->counts[row])
        history->counts[row]++;
    history->writes[row][number] = (struct written){
        .state = WRITTEN_PENDING, .version = version, .past = before | history_bit((int)number), .content = *content};
    return (int)number;
}

int history_find(const struct history *history, size_t row, struct stamp version)
{
    for (size_t i = 0; i < history->counts[row]; i++)
        if (history->writes[row][i].state != WRITTEN_FREE && !history->writes[row][i].unnoted &&
            stamp_equal(history->writes[row][i].version, version))
            return (int)i;
    return NOBODY;
}

static const struct text names[NODES_MAX] = {{"a", 1}, {"ab", 2}, {"b", 1}, {"c", 1}};

struct text node_name(int node)
{
    return names[node];
}

int node_number(struct text name)
{
    for (int i = 0; i < NODES_MAX; i++)
        if (text_equal(names[i], name))
            return i;
    return NOBODY;
}

const char *row_name(size_t row, char *out, size_t size)
{
    snprintf(out, size, "%s %zu", row < KEYS_MAX ? "parent" : "child", row % KEYS_MAX);
    return out;
}
