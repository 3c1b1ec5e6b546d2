/* The form that MindSpore asks of a custom operator: `params` are its inputs, then its outputs, `shapes` theirs. It
   returns 0; anything else ends the training. */

#pragma once

#include <stdint.h>

#define OPERATOR(name)                                                                             \
    int name(__attribute__((unused)) int count, void **params, __attribute__((unused)) int *ranks, \
             int64_t **shapes, __attribute__((unused)) const char **types,                         \
             __attribute__((unused)) void *stream, __attribute__((unused)) void *extra)
