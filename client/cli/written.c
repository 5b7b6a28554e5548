/* SPDX-License-Identifier: Apache-2.0 */
#include "written.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* Of a stream of its own kind (fopencookie(3)) stdio remembers that it has failed. */
static ssize_t on_write(void *cookie, const char *data, size_t n)
{
        Written *written = cookie;
        char *text = realloc(written->text, written->n + n + 1);

        if (!text)
                return 0;
        memcpy(text + written->n, data, n);
        written->text = text;
        written->n += n;
        text[written->n] = '\0';
        return (ssize_t)n;
}

int written_init(Written *written)
{
        *written = (Written){ 0 };
        written->to = fopencookie(written, "w", (cookie_io_functions_t){ .write = on_write });
        return written->to ? 0 : -ENOMEM;
}

int written_finish(Written *written, char **ret_text)
{
        bool whole = fflush(written->to) == 0 && !ferror(written->to);

        whole &= fclose(written->to) == 0;
        written->to = NULL;
        if (whole && !written->text)
                written->text = strdup("");
        if (!whole || !written->text)
                return -ENOMEM;
        *ret_text = written->text;
        written->text = NULL;
        return 0;
}

void written_deinit(Written *written)
{
        if (written->to)
                (void)fclose(written->to);
        free(written->text);
        *written = (Written){ 0 };
}
