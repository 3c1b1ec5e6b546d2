/* The signature of a custom operator of MindSpore. `params` has the inputs, then the outputs; `shapes` and `ranks` have
   their shapes. It returns 0; any other value ends the training. */

#pragma once

#include <stdint.h>

#define OPERATOR(name)                                                                                               \
    __attribute__((visibility("default")))                                                                          \
    int name(__attribute__((unused)) int count, void **params, int *ranks, int64_t **shapes,                        \
             __attribute__((unused)) const char **types, __attribute__((unused)) void *stream,                      \
             __attribute__((unused)) void *extra)
