/* What the two files of the test of exceptions share. */
#ifndef EXCEPT_TEST_H
#define EXCEPT_TEST_H

#include "core/Except.h"

#ifdef __cplusplus
extern "C" {
#endif

extern const Except_T Full;
void raise_elsewhere(int which);
const Except_T *address_elsewhere(int which);
void raise_after_its_own_try(void);

#ifdef __cplusplus
}
#endif

#endif
