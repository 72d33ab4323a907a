#include "bridge/flow/drain.h"

#include "bridge/base/log.h"

enum {
    LOOK_EVERY_MS = 5000,
    PUT_OFF_MS = 30000, /* when the queue cannot be read */
    AT_ONCE_MS = 1000,  /* then the others have their turn */
    ARRIVAL_MS = 1000,  /* for one that the queue says it has */
    DEATHS_MAX = 2,
};

static int64_t now_ms(const struct application *application)
{
    return application->worker->clock->ops->monotonic_ms(application->worker->clock);
}

static void close_inlet(struct drain *drain)
{
    drain->inlet->ops->close(drain->inlet);
    drain->open = false;
}

static void put_off(struct drain *drain, struct application *application, struct error *error)
{
    close_inlet(drain);
    drain->due_ms = now_ms(application) + PUT_OFF_MS;
    error_prefix(error, "the broker's dead letters");
    worker_tell(application->worker, error);
}

/* Its body may not be read: that is what may have ended the process. */
static void condemn(const struct envelope *envelope, int deaths, struct error *error)
{
    const struct header *header = envelope_header(envelope, "x-death");
    struct text history = header != NULL && !header->is_number ? header->text : TEXT_LITERAL("unknown");
    error_set(error, FAULT_POISON, "DEATH", "the adapter ended %d times with this message alone in hand\nDETAIL: before: %.*s", deaths,
              TEXT_PRINTF(history));
    error_hint(error, "The bytes are kept in bridge.dead_letter. Please report it with the adapter's log.");
}

/* False: the database is away, or the process stops. */
static bool handle(struct drain *drain, struct application *application, struct delivery *delivery)
{
    struct target *target = application->target;
    struct item item;
    struct error error;
    int deaths = 0;
    if (!target->ops->suspect(target, &delivery->envelope, &deaths, &error)) {
        application_failed(application, &error);
        return false;
    }
    if (deaths >= DEATHS_MAX)
        condemn(&delivery->envelope, deaths, &error);
    drain->read(drain->context, delivery, deaths >= DEATHS_MAX ? &error : NULL, &item);
    /* A heartbeat is old by now: what it speaks of may still be behind it. */
    bool applied = item.fate == FATE_HEARD || application_apply(application, &item, 1, 0) > 0;
    /* Whoever stops in good order has not died of it. */
    if (application->open && !target->ops->acquit(target, &delivery->envelope, &error)) {
        application_failed(application, &error);
        return false;
    }
    return applied;
}

static void drain_for(struct drain *drain, struct application *application, int64_t until_ms)
{
    struct error error;
    uint64_t count = 0;
    while (!worker_stopping(application->worker) && now_ms(application) < until_ms) {
        struct delivery *delivery = NULL;
        if (!drain->inlet->ops->receive(drain->inlet, ARRIVAL_MS, &delivery, &error)) {
            put_off(drain, application, &error);
            break;
        }
        if (delivery == NULL) {
            close_inlet(drain);
            break;
        }
        uint64_t tag = delivery->tag;
        bool handled = handle(drain, application, delivery);
        delivery_free(delivery);
        /* Not settled it comes again. */
        if (!handled) {
            close_inlet(drain);
            break;
        }
        count++;
        worker_show(application->worker, WORKER_RUNNING);
        application->waiting(application->context);
        if (!drain->inlet->ops->settle(drain->inlet, tag, &error)) {
            put_off(drain, application, &error);
            break;
        }
    }
    atomic_fetch_add(&application->worker->counters->drained, count);
    if (count > 0)
        log_event(LOG_LEVEL_WARNING, "drained", "messages=%llu reason=\"the broker had delivered them too often\"",
                  (unsigned long long)count);
}

void drain_some(struct drain *drain, struct application *application)
{
    struct error error;
    uint64_t waiting = 0;
    int64_t now = now_ms(application);
    if (drain->inlet == NULL || (!drain->open && now < drain->due_ms))
        return;
    if (!drain->open) {
        drain->due_ms = now + LOOK_EVERY_MS;
        if (!drain->inlet->ops->depth(drain->inlet, &waiting, &error)) {
            put_off(drain, application, &error);
            return;
        }
        atomic_store(&application->worker->counters->dead_queue_depth, waiting);
        if (waiting == 0)
            return;
        if (!drain->inlet->ops->open(drain->inlet, &error)) {
            put_off(drain, application, &error);
            return;
        }
        drain->open = true;
    }
    drain_for(drain, application, now + AT_ONCE_MS);
}
