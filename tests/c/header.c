/* The header alone, and twice, in every dialect. */
#include <socketpool/socketpool.h>
#include <socketpool/socketpool.h>

int main(void)
{
    sp_event event = {0, 0, 0, 0};
    sp_pool *pool = 0;
    return event.kind != 0 || sp_pool_turn(pool, 0) != SP_BAD_HANDLE || sp_last_error()[0] == '\0';
}
