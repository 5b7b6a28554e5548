/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libdbus on sd-event. libdbus makes two watches (read, write) on one descriptor, epoll takes a
 * descriptor once: a Descriptor merges them into one event source. Its dispatch-status callback
 * must not dispatch, so it arms a deferred source, which dispatches a bounded number of messages a
 * turn. Where an owner gives the turns, what epoll reports is only noted, and the descriptor rests
 * until the turn has dealt with it: whoever is not served costs nothing but that.
 *
 * Invariant: whatever a handler does (close the connection, drop it, free this BusLoop), nothing
 * that is still on the stack is freed: `n_running` counts the frames, the last of them frees.
 *
 * Single-threaded: connection, server and event loop belong to one thread.
 */
#include "loop/bus-loop-room.h"

#include <dbus/dbus.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>

/* Messages dispatched in one turn of the loop: then others have theirs. */
#define BUS_LOOP_TURN_MAX 16

typedef struct Timeout {
        BusLoop *loop;
        DBusTimeout *timeout;
        sd_event_source *source;
} Timeout;

/* Frees the parts that nothing points to any more, when no frame of ours is on the stack. */
static void bus_loop_sweep(BusLoop *loop)
{
        Descriptor **place = &loop->descriptors;

        if (loop->n_running > 0)
                return;
        while (*place) {
                Descriptor *descriptor = *place;

                if (descriptor->source) {
                        place = &descriptor->next;
                        continue;
                }
                *place = descriptor->next;
                free(descriptor);
        }
        if (loop->freed) {
                assert_always(!loop->descriptors);
                sd_event_unref(loop->event);
                free(loop);
        }
}

void bus_loop_enter(BusLoop *loop)
{
        loop->n_running++;
}

void bus_loop_leave(BusLoop *loop)
{
        loop->n_running--;
        bus_loop_sweep(loop);
}

/* --- watches --- */

static uint32_t descriptor_wanted(const Descriptor *descriptor)
{
        uint32_t events = 0;

        for (size_t i = 0; i < DESCRIPTOR_WATCHES_MAX; i++) {
                DBusWatch *watch = descriptor->watches[i];

                if (!watch || !dbus_watch_get_enabled(watch))
                        continue;
                if ((dbus_watch_get_flags(watch) & DBUS_WATCH_READABLE) &&
                    !descriptor->loop->is_stopped)
                        events |= EPOLLIN;
                if (dbus_watch_get_flags(watch) & DBUS_WATCH_WRITABLE)
                        events |= EPOLLOUT;
        }
        return events;
}

int descriptor_update(Descriptor *descriptor)
{
        uint32_t events = descriptor->pending ? 0 : descriptor_wanted(descriptor);
        int r;

        /*
         * Off, not just without events: epoll would go on reporting a hang-up that nobody handles.
         */
        if (events == 0)
                return sd_event_source_set_enabled(descriptor->source, SD_EVENT_OFF);
        r = sd_event_source_set_io_events(descriptor->source, events);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(descriptor->source, SD_EVENT_ON);
}

static unsigned watch_flags(DBusWatch *watch, uint32_t revents)
{
        unsigned flags = 0;

        if (revents & EPOLLIN)
                flags |= dbus_watch_get_flags(watch) & DBUS_WATCH_READABLE;
        if (revents & EPOLLOUT)
                flags |= dbus_watch_get_flags(watch) & DBUS_WATCH_WRITABLE;
        if (revents & EPOLLHUP)
                flags |= DBUS_WATCH_HANGUP;
        if (revents & EPOLLERR)
                flags |= DBUS_WATCH_ERROR;
        return flags;
}

/* For its watches of this direction: readable, writable or both. */
void descriptor_handle(Descriptor *descriptor, uint32_t revents, unsigned direction)
{
        for (size_t i = 0; i < DESCRIPTOR_WATCHES_MAX; i++) {
                /* Read anew each time: handling one watch may remove the others. */
                DBusWatch *watch = descriptor->watches[i];
                unsigned flags;

                if (!watch || !dbus_watch_get_enabled(watch) ||
                    !(dbus_watch_get_flags(watch) & direction))
                        continue;
                flags = watch_flags(watch, revents);
                if (flags != 0)
                        (void)dbus_watch_handle(watch,
                                                flags); /* no memory: it will be ready again */
        }
}

static void bus_loop_ready(BusLoop *loop)
{
        if (loop->is_ready || loop->in_turn || loop->freed)
                return;
        loop->is_ready = true;
        loop->owner.ready(loop->owner.userdata);
}

static int descriptor_on_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Descriptor *descriptor = userdata;
        BusLoop *loop = descriptor->loop;

        bus_loop_enter(loop);
        if (loop->owner.ready) {
                descriptor->pending = revents;
                (void)descriptor_update(descriptor);
                bus_loop_ready(loop);
        } else {
                descriptor_handle(descriptor, revents, DBUS_WATCH_READABLE | DBUS_WATCH_WRITABLE);
        }
        bus_loop_leave(loop);
        return 0;
}

static Descriptor *descriptor_find(BusLoop *loop, int fd)
{
        for (Descriptor *descriptor = loop->descriptors; descriptor;
             descriptor = descriptor->next) {
                /*
                 * Without a source it is only waiting to be swept; its number may be another's now.
                 */
                if (descriptor->fd == fd && descriptor->source)
                        return descriptor;
        }
        return NULL;
}

static Descriptor *descriptor_new(BusLoop *loop, int fd)
{
        Descriptor *descriptor;

        descriptor = calloc(1, sizeof(*descriptor));
        if (!descriptor)
                return NULL;
        descriptor->loop = loop;
        descriptor->fd = fd;
        if (sd_event_add_io(loop->event, &descriptor->source, fd, 0, descriptor_on_io, descriptor) <
            0) {
                free(descriptor);
                return NULL;
        }
        (void)sd_event_source_set_description(descriptor->source, "bus-io");
        (void)sd_event_source_set_priority(descriptor->source, loop->owner.priority);
        descriptor->next = loop->descriptors;
        loop->descriptors = descriptor;
        return descriptor;
}

static void descriptor_remove_watch(Descriptor *descriptor, DBusWatch *watch)
{
        bool left = false;

        for (size_t i = 0; i < DESCRIPTOR_WATCHES_MAX; i++) {
                if (descriptor->watches[i] == watch)
                        descriptor->watches[i] = NULL;
                left |= descriptor->watches[i] != NULL;
        }
        if (left)
                (void)descriptor_update(descriptor); /* cannot fail when there is less to watch */
        else
                descriptor->source = sd_event_source_disable_unref(descriptor->source);
        bus_loop_sweep(descriptor->loop);
}

static dbus_bool_t bus_loop_add_watch(DBusWatch *watch, void *userdata)
{
        BusLoop *loop = userdata;
        int fd = dbus_watch_get_unix_fd(watch);
        Descriptor *descriptor = descriptor_find(loop, fd);

        if (!descriptor)
                descriptor = descriptor_new(loop, fd);
        if (!descriptor)
                return FALSE;

        for (size_t i = 0; i < DESCRIPTOR_WATCHES_MAX; i++) {
                if (descriptor->watches[i])
                        continue;
                descriptor->watches[i] = watch;
                if (descriptor_update(descriptor) < 0) {
                        descriptor_remove_watch(descriptor, watch);
                        return FALSE;
                }
                dbus_watch_set_data(watch, descriptor, NULL);
                return TRUE;
        }
        return FALSE;
}

static void bus_loop_remove_watch(DBusWatch *watch, void *userdata)
{
        Descriptor *descriptor = dbus_watch_get_data(watch);

        if (!descriptor)
                return;
        dbus_watch_set_data(watch, NULL, NULL);
        descriptor_remove_watch(descriptor, watch);
}

static void bus_loop_toggle_watch(DBusWatch *watch, void *userdata)
{
        Descriptor *descriptor = dbus_watch_get_data(watch);

        if (descriptor)
                (void)descriptor_update(descriptor);
}

/* --- timeouts --- */

static int timeout_arm(Timeout *timeout)
{
        int interval_msec = dbus_timeout_get_interval(timeout->timeout);
        int r;

        if (!dbus_timeout_get_enabled(timeout->timeout))
                return sd_event_source_set_enabled(timeout->source, SD_EVENT_OFF);
        r = sd_event_source_set_time_relative(timeout->source,
                                              (uint64_t)MAX(interval_msec, 0) * USEC_PER_MSEC);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(timeout->source, SD_EVENT_ONESHOT);
}

static int timeout_on_time(sd_event_source *source, uint64_t usec, void *userdata)
{
        Timeout *timeout = userdata;
        BusLoop *loop = timeout->loop;

        bus_loop_enter(loop);
        (void)timeout_arm(timeout); /* first: handling it may remove it */
        (void)dbus_timeout_handle(timeout->timeout);
        bus_loop_leave(loop);
        return 0;
}

static void timeout_free(void *place)
{
        Timeout *timeout = place;

        sd_event_source_disable_unref(timeout->source);
        free(timeout);
}

static dbus_bool_t bus_loop_add_timeout(DBusTimeout *bus_timeout, void *userdata)
{
        BusLoop *loop = userdata;
        Timeout *timeout;

        timeout = calloc(1, sizeof(*timeout));
        if (!timeout)
                return FALSE;
        timeout->loop = loop;
        timeout->timeout = bus_timeout;
        if (sd_event_add_time_relative(loop->event, &timeout->source, CLOCK_MONOTONIC, 0,
                                       USEC_PER_MSEC, timeout_on_time, timeout) < 0 ||
            timeout_arm(timeout) < 0) {
                timeout_free(timeout);
                return FALSE;
        }
        (void)sd_event_source_set_description(timeout->source, "bus-timeout");
        dbus_timeout_set_data(bus_timeout, timeout, timeout_free);
        return TRUE;
}

static void bus_loop_remove_timeout(DBusTimeout *bus_timeout, void *userdata)
{
        dbus_timeout_set_data(bus_timeout, NULL, NULL); /* frees it */
}

static void bus_loop_toggle_timeout(DBusTimeout *bus_timeout, void *userdata)
{
        Timeout *timeout = dbus_timeout_get_data(bus_timeout);

        if (timeout)
                (void)timeout_arm(timeout);
}

/* --- dispatching --- */

static void bus_loop_arm_dispatch(BusLoop *loop)
{
        if (loop->dispatch)
                (void)sd_event_source_set_enabled(loop->dispatch, SD_EVENT_ONESHOT);
}

static void bus_loop_dispatch_status(DBusConnection *connection, DBusDispatchStatus status,
                                     void *userdata)
{
        BusLoop *loop = userdata;

        if (status == DBUS_DISPATCH_COMPLETE)
                return;
        if (loop->owner.ready)
                bus_loop_ready(loop);
        else
                bus_loop_arm_dispatch(loop);
}

static int bus_loop_on_dispatch(sd_event_source *source, void *userdata)
{
        BusLoop *loop = userdata;
        DBusConnection *connection = dbus_connection_ref(loop->connection);
        DBusDispatchStatus status = DBUS_DISPATCH_DATA_REMAINS;

        bus_loop_enter(loop);
        for (unsigned i = 0; i < BUS_LOOP_TURN_MAX; i++) {
                if (loop->freed || status != DBUS_DISPATCH_DATA_REMAINS)
                        break;
                status = dbus_connection_dispatch(connection);
        }
        if (!loop->freed && status != DBUS_DISPATCH_COMPLETE)
                bus_loop_arm_dispatch(loop);
        bus_loop_leave(loop);
        dbus_connection_unref(connection);
        return 0;
}

/* --- attaching --- */

static int bus_loop_new(sd_event *event, const BusLoopOwner *owner, BusLoop **ret_loop)
{
        BusLoop *loop;

        loop = calloc(1, sizeof(*loop));
        if (!loop)
                return -ENOMEM;
        loop->event = sd_event_ref(event);
        if (owner)
                loop->owner = *owner;
        *ret_loop = loop;
        return 0;
}

static int bus_loop_add_dispatch(BusLoop *loop)
{
        int r = sd_event_add_defer(loop->event, &loop->dispatch, bus_loop_on_dispatch, loop);

        if (r < 0)
                return r;
        (void)sd_event_source_set_description(loop->dispatch, "bus-dispatch");
        bus_loop_arm_dispatch(loop);
        return 0;
}

int bus_loop_attach_connection(sd_event *event, DBusConnection *connection,
                               const BusLoopOwner *owner, BusLoop **ret_loop)
{
        CLEANUP(bus_loop_freep) BusLoop *loop = NULL;
        int r;

        r = bus_loop_new(event, owner, &loop);
        if (r < 0)
                return r;
        loop->connection = dbus_connection_ref(connection);
        /* On, or ready, until the first turn has looked: what has arrived before is not told again. */
        r = owner ? 0 : bus_loop_add_dispatch(loop);
        if (r < 0)
                return r;

        if (!dbus_connection_set_watch_functions(connection, bus_loop_add_watch,
                                                 bus_loop_remove_watch, bus_loop_toggle_watch, loop,
                                                 NULL) ||
            !dbus_connection_set_timeout_functions(connection, bus_loop_add_timeout,
                                                   bus_loop_remove_timeout, bus_loop_toggle_timeout,
                                                   loop, NULL))
                return -ENOMEM;
        dbus_connection_set_dispatch_status_function(connection, bus_loop_dispatch_status, loop,
                                                     NULL);
        if (owner)
                bus_loop_ready(loop);
        *ret_loop = TAKE(loop);
        return 0;
}

int bus_loop_attach_server(sd_event *event, DBusServer *server, const BusLoopOwner *owner,
                           BusLoop **ret_loop)
{
        CLEANUP(bus_loop_freep) BusLoop *loop = NULL;
        int r;

        r = bus_loop_new(event, owner, &loop);
        if (r < 0)
                return r;
        loop->server = dbus_server_ref(server);
        if (!dbus_server_set_watch_functions(server, bus_loop_add_watch, bus_loop_remove_watch,
                                             bus_loop_toggle_watch, loop, NULL) ||
            !dbus_server_set_timeout_functions(server, bus_loop_add_timeout,
                                               bus_loop_remove_timeout, bus_loop_toggle_timeout,
                                               loop, NULL))
                return -ENOMEM;
        *ret_loop = TAKE(loop);
        return 0;
}

static void bus_loop_detach_connection(BusLoop *loop)
{
        DBusConnection *connection = TAKE(loop->connection);

        if (!connection)
                return;
        dbus_connection_set_dispatch_status_function(connection, NULL, NULL, NULL);
        (void)dbus_connection_set_watch_functions(connection, NULL, NULL, NULL, NULL, NULL);
        (void)dbus_connection_set_timeout_functions(connection, NULL, NULL, NULL, NULL, NULL);
        dbus_connection_unref(connection);
}

static void bus_loop_detach_server(BusLoop *loop)
{
        DBusServer *server = TAKE(loop->server);

        if (!server)
                return;
        (void)dbus_server_set_watch_functions(server, NULL, NULL, NULL, NULL, NULL);
        (void)dbus_server_set_timeout_functions(server, NULL, NULL, NULL, NULL, NULL);
        dbus_server_unref(server);
}

BusLoop *bus_loop_free(BusLoop *loop)
{
        if (!loop)
                return NULL;

        assert_always(!loop->freed);
        bus_loop_enter(loop);
        loop->dispatch = sd_event_source_disable_unref(loop->dispatch);
        bus_loop_detach_connection(loop);
        bus_loop_detach_server(loop);
        loop->freed = true;
        bus_loop_leave(loop);
        return NULL;
}
