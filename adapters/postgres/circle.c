/* Letters that wait for each other, as the changes of one transaction may: two rows that exchange a unique value; a parent
 * whose deletion waits for a child, which waits for another parent, which waits for the first one's unique value. Each
 * alone fails for ever.
 *
 * Of all that are blocked by other rows those are found that stand when all of them are applied: apply all, take those out
 * that offend, and again, until nobody does. What is left is the greatest such set, and it waits for nothing else. */
#include "adapters/postgres/target_private.h"

enum { CIRCLE_LETTERS_MAX = 100 };

struct member {
    struct waiting letter;
    struct tally tally;
    bool joined, out;
};

struct circle {
    size_t count;
    struct member *members;
    bool role_is_origin; /* where its savepoint is */
};

static bool read_members(struct pg_target *target, struct circle *circle, struct error *error)
{
    char limit[16];
    snprintf(limit, sizeof limit, "%d", CIRCLE_LETTERS_MAX);
    const char *parameters[] = {limit};
    PG_RESULT letters = pg_query(&target->session, "letters_blocked", 1, parameters, error);
    if (letters == NULL)
        return false;
    int count = PQntuples(letters);
    circle->members = arena_take_array(&target->arena, (size_t)count, sizeof *circle->members);
    for (int row = 0; row < count; row++) {
        struct member *member = &circle->members[circle->count];
        struct error unreadable;
        *member = (struct member){0};
        circle->count += letter_read(target, letters, row, &member->letter, &unreadable);
    }
    return true;
}

/* Applies those that have not joined yet; false when that cannot be known now. */
static bool join(struct pg_target *target, struct circle *circle, struct error *error)
{
    for (size_t i = 0; i < circle->count; i++) {
        struct member *member = &circle->members[i];
        if (member->out || member->joined)
            continue;
        struct tally tally = {0};
        member->joined =
            target->port.ops->apply(&target->port, &member->letter.message, 0, 1, APPLY_PUT_OFF, &tally, error);
        if (!member->joined && !error_is_of_rows(error) && error->fault != FAULT_OPERATOR)
            return false;
        member->tally = tally;
    }
    return true;
}

/* Takes out who could not join, and who offends; tells how many. */
static bool expel(struct pg_target *target, struct circle *circle, size_t *expelled, struct error *error)
{
    struct offences offences = {0};
    *expelled = 0;
    if (!target_find_offences(target, &offences, error))
        return false;
    for (size_t i = 0; i < circle->count; i++) {
        struct member *member = &circle->members[i];
        bool offends = !member->joined;
        for (size_t j = 0; j < offences.count; j++)
            offends = offends || offences.rows[j].message == &member->letter.message;
        *expelled += offends && !member->out;
        member->out = member->out || offends;
        member->joined = false;
    }
    return *expelled > 0 || offences.count == 0 ||
           error_set(error, FAULT_BUG, NULL, "a row offends that is in no letter");
}

static size_t circle_size(const struct circle *circle)
{
    size_t size = 0;
    for (size_t i = 0; i < circle->count; i++)
        size += !circle->members[i].out;
    return size;
}

/* False: what was done is to be undone; with FAULT_NONE because there is no circle. */
static bool close_circle(struct pg_target *target, struct circle *circle, struct error *error)
{
    *error = (struct error){0};
    for (size_t expelled = 1; expelled > 0;) {
        if (circle_size(circle) < 2)
            return false;
        if (!pg_execute(&target->session, "rollback to savepoint circle", error))
            return false;
        target_forget_checks(target);
        target->role_is_origin = circle->role_is_origin;
        /* Rows that are here are taken out of the others' way, so that those that are not find room at the second time. */
        if (!join(target, circle, error) || !join(target, circle, error) || !expel(target, circle, &expelled, error))
            return false;
        *error = (struct error){0};
    }
    return pg_execute(&target->session, "set constraints all immediate", error);
}

bool circle_retry(struct pg_target *target, struct error *error)
{
    struct circle circle = {0};
    /* Each has been judged when it was tried alone. */
    target->horizon_us = 0;
    if (!read_members(target, &circle, error))
        return false;
    if (circle.count < 2)
        return true;
    if (!pg_execute(&target->session, "savepoint circle", error))
        return false;
    circle.role_is_origin = target->role_is_origin;
    if (close_circle(target, &circle, error)) {
        for (size_t i = 0; i < circle.count; i++)
            if (!circle.members[i].out && !letter_ended(target, &circle.members[i].letter, &circle.members[i].tally, error))
                return false;
        target_forget_checks(target);
        return pg_execute(&target->session, "release savepoint circle", error);
    }
    /* They stay as they were, to be tried another time. */
    target_forget_checks(target);
    target->role_is_origin = circle.role_is_origin;
    if (is_of_session(error))
        return false;
    return pg_execute(&target->session, "rollback to savepoint circle; release savepoint circle", error);
}
