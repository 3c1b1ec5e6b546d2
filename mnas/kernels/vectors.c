/* Many float32 tensors as one vector, one after the other, as custom operators of MindSpore. They are one node of the
   graph instead of several for each of a network's hundred parameters. */

#include <stdint.h>
#include <string.h>

#include "operator.h"

static int64_t size_of(const int64_t *shape, int rank) {
    int64_t size = 1;
    for (int axis = 0; axis < rank; axis++) size *= shape[axis];
    return size;
}

/* In: tensors. Out: the vector of all. */
OPERATOR(concatenate) {
    const int tensors = count - 1;
    float *vector = params[tensors];
    for (int t = 0; t < tensors; t++) {
        const int64_t size = size_of(shapes[t], ranks[t]);
        memcpy(vector, params[t], size * sizeof(float));
        vector += size;
    }
    return 0;
}

/* In: a vector, then tensors; each tensor's part of the vector is subtracted from it in place. Out: a zero (1),
   because an operator must have an output. */
OPERATOR(subtract_vector) {
    const int outputs = 1;
    const float *step = params[0];
    for (int t = 1; t < count - outputs; t++) {
        float *tensor = params[t];
        const int64_t size = size_of(shapes[t], ranks[t]);
        for (int64_t i = 0; i < size; i++) tensor[i] -= step[i];
        step += size;
    }
    *(float *)params[count - outputs] = 0;
    return 0;
}
