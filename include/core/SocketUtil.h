/* The clock by which everything here goes.
 *
 *     uint64_t Socket_get_monotonic_ms(void);  milliseconds of CLOCK_MONOTONIC */
#ifndef SOCKETPOOL_CORE_SOCKETUTIL_H
#define SOCKETPOOL_CORE_SOCKETUTIL_H

#include <socketpool/socketpool.h>

#endif
