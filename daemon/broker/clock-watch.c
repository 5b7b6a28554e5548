/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whoever reads that a certificate has expired, or that a record is older than the one before it, has to know that the
 * clock was set. The kernel says so at once, by a timer that it cancels then (timerfd_create(2)); a sandbox that does not
 * know that shows it when dates are looked at. Nothing but a log line comes of it: what is to be done at a date is
 * wake.c's, and no deadline is of a clock that can be set.
 */
#include "broker/clock-watch.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* What is less is the work of whoever keeps the time, and nobody's trouble. */
#define WORTH_A_LINE_SEC 5

struct ClockWatch {
        sd_event_source *source;
        int fd;
        ClockReading last;
};

void clock_watch_look(ClockWatch *watch)
{
        const ClockReading now = clock_read();
        int64_t set_sec = clock_set_usec(&watch->last, &now) / (int64_t)USEC_PER_SEC;
        uint64_t suspended_sec = clock_suspended_usec(&watch->last, &now) / USEC_PER_SEC;

        watch->last = now;
        if (set_sec > WORTH_A_LINE_SEC || set_sec < -WORTH_A_LINE_SEC)
                log_warning("the clock was set %" PRId64 " s %s", set_sec < 0 ? -set_sec : set_sec,
                            set_sec < 0 ? "back" : "ahead");
        if (suspended_sec > WORTH_A_LINE_SEC)
                log_info("this host was suspended for %" PRIu64 " s", suspended_sec);
}

static int on_set(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        ClockWatch *watch = userdata;
        uint64_t n;

        (void)!read(fd, &n, sizeof(n)); /* ECANCELED */
        clock_watch_look(watch);
        return 0;
}

static bool arm(int fd)
{
        static const struct itimerspec never = { .it_value.tv_sec = 253402300799 /* 9999 */ };

        return fd >= 0 && timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never,
                                          NULL) == 0;
}

int clock_watch_new(sd_event *event, ClockWatch **ret_watch)
{
        CLEANUP(clock_watch_freep) ClockWatch *watch = calloc(1, sizeof(*watch));
        int r = 0;

        if (!watch)
                return -ENOMEM;
        watch->last = clock_read();
        watch->fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
        if (arm(watch->fd))
                r = sd_event_add_io(event, &watch->source, watch->fd, EPOLLIN, on_set, watch);
        if (r < 0)
                return r;
        *ret_watch = TAKE(watch);
        return 0;
}

ClockWatch *clock_watch_free(ClockWatch *watch)
{
        if (!watch)
                return NULL;
        sd_event_source_disable_unref(watch->source);
        close_fd(watch->fd);
        free(watch);
        return NULL;
}
