/* RMSProp on all parameters of a network at once, as a custom operator of MindSpore: one node of the graph instead of
   several for each parameter, of which a network has a hundred. */

#include <math.h>
#include <stdint.h>

#include "operator.h"

/* In: learning rate (), rule (decay, momentum, epsilon), weight decay of each parameter (P); then the P weights, squares,
   velocities and gradients. Updates the first three in place. Out: the learning rate.

   g <- g + weight_decay w;  s <- decay s + (1 - decay) g^2;  v <- momentum v + learning_rate g / sqrt(s + epsilon);
   w <- w - v */
OPERATOR(rmsprop) {
    enum { FIRST = 3 };
    const float rate = *(float *)params[0], *rule = params[1], *weight_decays = params[2];
    const float decay = rule[0], momentum = rule[1], epsilon = rule[2];
    const int64_t parameters = shapes[2][0];
    for (int64_t p = 0; p < parameters; p++) {
        void **tensors = params + FIRST + p;
        float *weight = tensors[0], *square = tensors[parameters], *velocity = tensors[2 * parameters];
        const float *gradient = tensors[3 * parameters];
        int64_t size = 1;
        for (int axis = 0; axis < ranks[FIRST + p]; axis++) size *= shapes[FIRST + p][axis];
        for (int64_t i = 0; i < size; i++) {
            const float g = gradient[i] + weight_decays[p] * weight[i];
            square[i] = decay * square[i] + (1 - decay) * g * g;
            velocity[i] = momentum * velocity[i] + rate * g / sqrtf(square[i] + epsilon);
            weight[i] -= velocity[i];
        }
    }
    *(float *)params[FIRST + 4 * parameters] = rate;
    return 0;
}
