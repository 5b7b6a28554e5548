/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What takes long for a peer: large answers, and telling it what has changed. Both have a turn of their own, beside that
 * for its calls and on the same client's account, so that who has many connections, or has many things listed, pays for
 * that with his own time. In this order: an answer that is being made; what has changed; what a reload lets it see. Only
 * what takes no time to speak of is told at once, and so before the answer to whom has changed it.
 *
 * Who does not read is not told: for him it all waits, as notices that are shared by all (core/news.h), and he is told
 * later what there is then.
 */
#include "broker/bus/room.h"

#include "base/clock.h"

typedef enum Step { STEP_MORE, STEP_IDLE, STEP_HELD_UP } Step;

static int on_later(sd_event_source *source, uint64_t usec, void *userdata)
{
        tellers_wake(userdata);
        return 0;
}

/* The bus reads nothing more of us for now, or this client nothing on the channel. */
static bool has_no_way(const Peer *peer)
{
        return peer->name ? !link_may_answer(peer->bus->link, peer->standing)
                          : peer_is_unread(peer);
}

/* Nothing tells when its client has room again, by other connections of his. */
static void look_later(Bus *bus)
{
        int enabled = SD_EVENT_OFF;

        if (!bus->later) {
                (void)sd_event_add_time_relative(bus->rooms.event, &bus->later, CLOCK_MONOTONIC,
                                                 SIGNAL_AGAIN_USEC, USEC_PER_MSEC, on_later, bus);
                return;
        }
        if (sd_event_source_get_enabled(bus->later, &enabled) < 0 || enabled != SD_EVENT_OFF)
                return;
        (void)sd_event_source_set_time_relative(bus->later, SIGNAL_AGAIN_USEC);
        (void)sd_event_source_set_enabled(bus->later, SD_EVENT_ONESHOT);
}

/* If not, it is woken when it may be: by the link, by what it reads, or by the time. */
static bool takes_signals(Peer *peer)
{
        if (has_no_way(peer))
                return false;
        if (peer_has_account_for_signals(peer))
                return true;
        look_later(peer->bus);
        return false;
}

/* The next of what has changed. STEP_IDLE: it has been told all of it. */
static Step tell_news(Peer *peer)
{
        const Notice *notice;

        if (!peer_listens(peer))
                news_skip(&peer->news);
        notice = news_next(&peer->news);
        if (!notice)
                return STEP_IDLE;
        if (!takes_signals(peer))
                return STEP_HELD_UP;
        signal_tell(peer, notice);
        news_pass(&peer->news);
        return STEP_MORE;
}

static Step go_on(Peer *peer, uint64_t until_usec)
{
        Step step;

        if (!TAILQ_EMPTY(&peer->bulks)) {
                bulk_go_on(peer, until_usec);
                return STEP_MORE;
        }
        step = tell_news(peer);
        if (step != STEP_IDLE || !peer->view.told)
                return step;
        if (!takes_signals(peer))
                return STEP_HELD_UP;
        view_go_on(peer);
        return STEP_MORE;
}

static void take_turn(void *userdata)
{
        uint64_t until_usec = clock_monotonic_usec() + TURN_USEC;
        Peer *peer = userdata;
        Step step;

        do
                step = go_on(peer, until_usec);
        while (step == STEP_MORE && clock_monotonic_usec() < until_usec);
        peer->is_held_up = step == STEP_HELD_UP;
        if (step == STEP_MORE)
                teller_wake(peer);
}

/* --- at once --- */

/* What is left of it is for the peer's turn, which is wanted already. */
static void tell_now(Peer *peer, uint64_t until_usec)
{
        uint64_t began_usec = clock_monotonic_usec();

        while (clock_monotonic_usec() < until_usec && tell_news(peer) == STEP_MORE)
                ;
        turns_spend(peer->bus->turns, turn_payer(&peer->slow_turn),
                    clock_monotonic_usec() - began_usec);
}

static void earn(AtOnce *at_once, uint64_t now_usec)
{
        uint64_t elapsed = MIN(now_usec - at_once->earned_at_usec, USEC_PER_SEC);

        at_once->credit_usec += (int64_t)(elapsed * AT_ONCE_PERCENT / 100);
        at_once->credit_usec = MIN(at_once->credit_usec, (int64_t)AT_ONCE_USEC);
        at_once->earned_at_usec = now_usec;
}

void tellers_tell_at_once(Bus *bus)
{
        uint64_t now_usec = clock_monotonic_usec(), until_usec;
        AtOnce *at_once = &bus->at_once;
        Peer *peer;

        if (now_usec >= at_once->earned_at_usec + 100) /* so that no fraction is lost */
                earn(at_once, now_usec);
        if (at_once->credit_usec <= 0)
                return;
        until_usec = now_usec + (uint64_t)at_once->credit_usec;
        TAILQ_FOREACH(peer, &bus->peers, entry)
        {
                if (peer->state == PEER_KNOWN && TAILQ_EMPTY(&peer->bulks) &&
                    news_next(&peer->news))
                        tell_now(peer, until_usec);
        }
        at_once->credit_usec -= (int64_t)(clock_monotonic_usec() - now_usec);
}

/* --- when there is something --- */

void teller_wake(Peer *peer)
{
        bus_want_turn(peer->bus, &peer->slow_turn);
}

/* Of thousands on a bus that takes nothing none has a turn that would come to nothing. */
void tellers_wake(Bus *bus)
{
        Peer *peer;

        TAILQ_FOREACH(peer, &bus->peers, entry)
        {
                if (peer->is_held_up && !has_no_way(peer))
                        teller_wake(peer);
        }
}

static void on_news(void *userdata)
{
        teller_wake(userdata);
}

static void on_lost(void *userdata)
{
        Peer *peer = userdata;

        if (peer_listens(peer))
                note_limit(peer->bus, peer_client(peer), RESOURCE_SIGNALS);
}

/* --- from beginning to end --- */

int teller_new(Peer *peer)
{
        int r = turn_init(&peer->slow_turn, peer->bus->turns, peer->standing, peer->subject.uid);

        if (r < 0)
                return r;
        peer->slow_turn.is_slow = true;
        peer->slow_turn.take = take_turn;
        peer->slow_turn.userdata = peer;
        peer->news.wake = on_news;
        peer->news.lost = on_lost;
        peer->news.userdata = peer;
        news_join(peer->bus->news, &peer->news);
        return 0;
}

void teller_stop(Peer *peer)
{
        news_leave(&peer->news);
        turn_deinit(&peer->slow_turn);
}
