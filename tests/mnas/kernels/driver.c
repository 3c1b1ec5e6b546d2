/* Runs networks, forth and back, with the tensors on standard input, and writes what they give to standard output.

   A network is TENSORS tensors in the order of `Tensor`: rank, shape, values of 4 bytes. Ranks and sizes are int64. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "operator.h"

OPERATOR(network);
OPERATOR(network_gradients);

enum { IMAGES, WEIGHTS, STATISTICS, LAYERS, RULE, MASK, DY, Y, WORKSPACE, DWEIGHTS, DIMAGES, MEMORY, TENSORS };
enum { MAX_RANK = 4, MAX_PARAMETERS = 9 };

static const int forth[] = {IMAGES, WEIGHTS, STATISTICS, LAYERS, RULE, MASK, Y, WORKSPACE};
static const int back[] = {WEIGHTS, LAYERS, RULE, MASK, WORKSPACE, DY, DWEIGHTS, DIMAGES, MEMORY};
static const int written[] = {STATISTICS, Y, DWEIGHTS, DIMAGES};

static void *values[TENSORS];
static int ranks[TENSORS];
static int64_t shapes[TENSORS][MAX_RANK], sizes[TENSORS];

static void get(void *to, size_t count, size_t size) {
    if (fread(to, size, count, stdin) != count) exit(2);
}

static void call(int (*operator)(int, void **, int *, int64_t **, const char **, void *, void *), const int *order,
                 int count) {
    void *params[MAX_PARAMETERS];
    int own_ranks[MAX_PARAMETERS];
    int64_t *own_shapes[MAX_PARAMETERS];
    for (int i = 0; i < count; i++) {
        params[i] = values[order[i]];
        own_ranks[i] = ranks[order[i]];
        own_shapes[i] = shapes[order[i]];
    }
    if (operator(count, params, own_ranks, own_shapes, NULL, NULL, NULL) != 0) exit(3);
}

int main(void) {
    int64_t networks;
    get(&networks, 1, sizeof networks);
    while (networks-- > 0) {
        for (int t = 0; t < TENSORS; t++) {
            int64_t rank;
            get(&rank, 1, sizeof rank);
            if (rank > MAX_RANK) return 2;
            get(shapes[t], rank, sizeof(int64_t));
            ranks[t] = rank;
            sizes[t] = 1;
            for (int axis = 0; axis < rank; axis++) sizes[t] *= shapes[t][axis];
            values[t] = malloc(sizes[t] * sizeof(float));
            get(values[t], sizes[t], sizeof(float));
        }
        call(network, forth, sizeof forth / sizeof *forth);
        call(network_gradients, back, sizeof back / sizeof *back);
        for (size_t i = 0; i < sizeof written / sizeof *written; i++)
            fwrite(values[written[i]], sizeof(float), sizes[written[i]], stdout);
        for (int t = 0; t < TENSORS; t++) free(values[t]);
    }
    return 0;
}
