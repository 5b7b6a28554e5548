/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A descriptor is made by one system call and written down by the next instructions: a child that
 * is forked between the two has a socket of which it knows nothing and that it never closes. So
 * fork(2) takes the mutex that is held over both, and gives it back in the parent and in the child.
 * It is never held while waiting.
 */
#include "fork.h"

#include <pthread.h>
#include <stdbool.h>

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool is_installed; /* by now, or never: else a child would find the mutex taken */

static void lock(void)
{
        (void)pthread_mutex_lock(&mutex);
}

static void unlock(void)
{
        (void)pthread_mutex_unlock(&mutex);
}

static void install(void)
{
        is_installed = pthread_atfork(lock, unlock, unlock) == 0;
}

void fork_hold(void)
{
        (void)pthread_once(&once, install);
        if (is_installed)
                lock();
}

void fork_release(void)
{
        if (is_installed)
                unlock();
}
