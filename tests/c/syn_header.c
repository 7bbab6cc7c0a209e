/* The header alone, and twice, in every dialect. */
#include <core/SocketSYNProtect.h>
#include <core/SocketSYNProtect.h>

int main(void)
{
    SocketSYNProtect_T protect = SocketSYNProtect_new(NULL, 1000, 100);
    SocketSYN_Action action = SocketSYNProtect_check(protect, "192.0.2.7", NULL);

    SocketSYNProtect_free(&protect);
    return action != SYN_ACTION_ALLOW;
}
