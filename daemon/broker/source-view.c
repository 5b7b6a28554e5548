/* SPDX-License-Identifier: Apache-2.0 */
/* Between sources and the bus, neither of which may know the other. It copies nothing. */
#include "broker/source-view.h"

#include "broker/sources/sources.h"

static void show(const Source *source, BusSource *ret_source)
{
        *ret_source = (BusSource){
                .name = source_name(source),
                .driver = source_driver(source),
                .uri = source_uri(source),
                .state = source_state_name(source_state(source)),
                .last_error = source_last_error(source),
                .last_ready_sec = source_last_ready_sec(source),
        };
}

static void at(const Sources *sources, size_t index, BusSource *ret_source)
{
        show(sources_at(sources, index), ret_source);
}

static bool find(const Sources *sources, const char *name, BusSource *ret_source)
{
        const Source *source = sources_find(sources, name);

        if (source)
                show(source, ret_source);
        return source != NULL;
}

const BusSourceView source_view = { .count = sources_count, .at = at, .find = find };
