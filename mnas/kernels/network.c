/* A whole network in training as one custom operator of MindSpore, and its gradients as another. MindSpore compiles a
   handful of operators instead of a hundred, and values between layers are in the form of tensor.h. One thread. */

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "layers.h"
#include "operator.h"

enum { INPUT, CONVOLUTION, DEPTHWISE, NORM, SQUEEZE_EXCITE, POOL, FIT, ADD, MEAN, MASK, BIAS };

/* A layer, as mnas/kernels/program.py writes it; numbers without a meaning for a kind are 0. */
typedef struct {
    int32_t kind;
    int32_t input, other;       /* numbers of the layers whose outputs it takes; `other` of ADD */
    int32_t channels, size;     /* of its output; planes are square */
    int32_t kernel, stride;
    int32_t weights;            /* where its weights are in the vector of all */
    int32_t statistics;         /* where its moving statistics are */
    int32_t activation;         /* of NORM: 0 none, 1 ReLU, 2 ReLU6 */
    int32_t reduced;            /* channels within SQUEEZE_EXCITE */
} Layer;

/* What all layers share. */
typedef struct {
    const Layer *layers;
    int count, images;
    const float *weights;
    float epsilon, new_share;
    const float *mask; /* factors (N, C); NULL if there are none */
    Tensor *outputs;   /* of each layer */
    float **saved;     /* what a layer keeps for its gradient */
    size_t largest;    /* floats of the largest output */
} Network;

static size_t saved_floats(const Layer *layer, int images) {
    if (layer->kind == NORM) return 2 * blocks_of(layer->channels) * LANES;
    if (layer->kind == SQUEEZE_EXCITE) return (size_t)images * (2 * layer->channels + layer->reduced);
    return 0;
}

static float *aligned(float *data) {
    const uintptr_t line = CACHE_LINE * sizeof(float);
    return (float *)(((uintptr_t)data + line - 1) / line * line);
}

/* Lay out the outputs of all layers in the workspace. Returns 0; 1 if memory or workspace do not suffice. */
static int lay_out(Network *network, float *workspace, const int64_t workspace_floats) {
    network->outputs = malloc(network->count * (sizeof(Tensor) + sizeof(float *)));
    if (network->outputs == NULL) return 1;
    network->saved = (float **)(network->outputs + network->count);
    network->largest = 0;
    const float *end = workspace + workspace_floats;
    float *next = workspace;
    for (int i = 0; i < network->count; i++) {
        const Layer *layer = &network->layers[i];
        next = aligned(next);
        network->outputs[i] = tensor_of(next, network->images, layer->channels, layer->size, layer->size);
        const size_t floats = floats_of(network->images, layer->channels, layer->size, layer->size);
        if (floats > network->largest) network->largest = floats;
        network->saved[i] = next + floats;
        next = network->saved[i] + saved_floats(layer, network->images);
    }
    return next > end;
}

/* Between (N, C, H, W) and blocks. */
static void to_blocks(const float *from, const Tensor *t) {
    const int pixels = t->height * t->width;
    for (int b = 0; b < blocks_of(t->channels); b++)
        for (int n = 0; n < t->images; n++)
            for (int p = 0; p < pixels; p++) {
                Lanes lanes = {0};
                for (int c = b * LANES; c < at_most(t->channels, (b + 1) * LANES); c++)
                    lanes[c % LANES] = from[((size_t)n * t->channels + c) * pixels + p];
                store(t->data + b * t->block + ((size_t)n * pixels + p) * LANES, lanes);
            }
}

static void from_blocks(float *to, const Tensor *t) {
    const int pixels = t->height * t->width;
    for (int n = 0; n < t->images; n++)
        for (int c = 0; c < t->channels; c++, to += pixels)
            for (int p = 0; p < pixels; p++)
                to[p] = t->data[c / LANES * t->block + ((size_t)n * pixels + p) * LANES + c % LANES];
}

static Rule rule_of(const Network *network, const Layer *layer) {
    return (Rule){network->epsilon, network->new_share, layer->activation ? 0 : -INFINITY,
                  layer->activation == 2 ? 6 : INFINITY};
}

/* y = x + other */
static void add(const Tensor *x, const Tensor *other, const Tensor *y) {
    const size_t floats = floats_of(x->images, x->channels, x->height, x->width);
    for (size_t i = 0; i < floats; i += LANES) store(y->data + i, load(x->data + i) + load(other->data + i));
}

static void copy(const Tensor *x, const Tensor *y) {
    memcpy(y->data, x->data, floats_of(x->images, x->channels, x->height, x->width) * sizeof(float));
}

static void mean(const Tensor *x, const Tensor *y) {
    const int pixels = x->height * x->width;
    for (int b = 0; b < blocks_of(x->channels); b++) {
        const float *from = x->data + b * x->block;
        for (int n = 0; n < x->images; n++) {
            Lanes sum = {0};
            for (int p = 0; p < pixels; p++, from += LANES) sum += load(from);
            store(y->data + b * y->block + n * LANES, sum / (float)pixels);
        }
    }
}

static void differentiate_mean(const Tensor *dy, const Tensor *dx) {
    const int pixels = dx->height * dx->width;
    for (int b = 0; b < blocks_of(dx->channels); b++) {
        float *to = dx->data + b * dx->block;
        for (int n = 0; n < dx->images; n++) {
            const Lanes share = load(dy->data + b * dy->block + n * LANES) / (float)pixels;
            for (int p = 0; p < pixels; p++, to += LANES) store(to, share);
        }
    }
}

/* x (N, C, 1, 1) times the mask, which is its own gradient. */
static void mask(const Tensor *x, const float *factors, const Tensor *y) {
    for (int b = 0; b < blocks_of(x->channels); b++)
        for (int n = 0; n < x->images; n++) {
            const size_t place = b * x->block + n * LANES;
            const int c = b * LANES;
            const Lanes own = load_first(factors + (size_t)n * x->channels + c, x->channels - c);
            store(y->data + place, load(x->data + place) * own);
        }
}

static void add_bias(const Tensor *x, const float *bias, const Tensor *y) {
    for (int b = 0; b < blocks_of(x->channels); b++) {
        const Lanes own = load_first(bias + b * LANES, x->channels - b * LANES);
        for (size_t p = 0; p < pixels_of(x); p++)
            store(y->data + b * y->block + p * LANES, load(x->data + b * x->block + p * LANES) + own);
    }
}

static void differentiate_bias(const Tensor *dy, float *dbias) {
    for (int b = 0; b < blocks_of(dy->channels); b++) {
        Lanes sum = {0};
        for (size_t p = 0; p < pixels_of(dy); p++) sum += load(dy->data + b * dy->block + p * LANES);
        store_first(dbias + b * LANES, sum, dy->channels - b * LANES);
    }
}

static int run(const Network *network, int number, const float *images, float *statistics) {
    const Layer *layer = &network->layers[number];
    const Tensor *x = &network->outputs[layer->input], *y = &network->outputs[number];
    const float *weights = network->weights + layer->weights;
    const Shape shape = {layer->kernel, layer->stride};
    switch (layer->kind) {
        case INPUT: to_blocks(images, y); return 0;
        case CONVOLUTION: return convolve(x, weights, y, shape);
        case DEPTHWISE: return convolve_depthwise(x, weights, y, shape);
        case NORM: {
            const Rule rule = rule_of(network, layer);
            normalize(x, weights, weights + x->channels, statistics + layer->statistics, &rule, y,
                      network->saved[number]);
            return 0;
        }
        case SQUEEZE_EXCITE: squeeze_excite(x, weights, layer->reduced, y, network->saved[number]); return 0;
        case POOL: pool(x, y, shape); return 0;
        case FIT: fit(x, y); return 0;
        case ADD: add(x, &network->outputs[layer->other], y); return 0;
        case MEAN: mean(x, y); return 0;
        case MASK: network->mask ? mask(x, network->mask, y) : copy(x, y); return 0;
        case BIAS: add_bias(x, weights, y); return 0;
        default: return 1;
    }
}

/* Gradients of the outputs of layers are in a few buffers that take turns; `gradients[i].data` is NULL if there is none
   (yet). */
enum { BUFFERS = 5 };

typedef struct {
    float *free[BUFFERS];
    int count;
} Pool;

static float *take(Pool *pool) { return pool->count > 0 ? pool->free[--pool->count] : NULL; }

static void give_back(Pool *pool, float *buffer) { pool->free[pool->count++] = buffer; }

/* Add dy, in a buffer of its own, to the gradient of an output, and give back what is not needed. */
static void pass_on(Tensor *gradient, Tensor dy, Pool *pool) {
    if (gradient->data == NULL) {
        *gradient = dy;
    } else {
        add(gradient, &dy, gradient);
        give_back(pool, dy.data);
    }
}

/* The gradient dx of a layer's input by dy, and of its weights. dx may take the place of dy. */
static int differentiate(const Network *network, int number, const Tensor *dy, const Tensor *dx, float *dweights) {
    const Layer *layer = &network->layers[number];
    const Tensor *x = &network->outputs[layer->input];
    const float *weights = network->weights + layer->weights;
    const Shape shape = {layer->kernel, layer->stride};
    dweights += layer->weights;
    switch (layer->kind) {
        case CONVOLUTION: return differentiate_convolution(x, weights, dy, dx, dweights, shape);
        case DEPTHWISE: return differentiate_depthwise(x, weights, dy, dx, dweights, shape);
        case NORM: {
            const Rule rule = rule_of(network, layer);
            const int channels = layer->channels;
            differentiate_norm(x, weights, weights + channels, network->saved[number], &rule, dy, dweights,
                               dweights + channels);
            return 0;
        }
        case SQUEEZE_EXCITE:
            differentiate_squeeze_excite(x, weights, layer->reduced, network->saved[number], dy, dweights);
            return 0;
        case POOL: differentiate_pool(dy, dx, shape); return 0;
        case FIT: fit(dy, dx); return 0;
        case ADD: return 0;
        case MEAN: differentiate_mean(dy, dx); return 0;
        case MASK: if (network->mask) mask(dy, network->mask, dy); return 0;
        case BIAS: differentiate_bias(dy, dweights); return 0;
        default: return 1;
    }
}

/* Whether dx is written where dy was. */
static bool in_place(int kind) {
    return kind == NORM || kind == SQUEEZE_EXCITE || kind == ADD || kind == MASK || kind == BIAS;
}

/* Whether nobody needs dx: that of the images costs as much as the first convolution. */
static bool stops_at(const Layer *layer, const float *dimages) {
    return layer->input == 0 && dimages == NULL && (layer->kind == CONVOLUTION || layer->kind == DEPTHWISE);
}

static int go_back(const Network *network, const float *dy_last, float *dweights, float *dimages, Pool *pool) {
    Tensor gradients[network->count];
    for (int i = 0; i < network->count; i++) gradients[i] = stored_at(NULL, &network->outputs[i]);
    Tensor *last = &gradients[network->count - 1];
    last->data = take(pool);
    to_blocks(dy_last, last);
    for (int i = network->count - 1; i > 0; i--) {
        const Layer *layer = &network->layers[i];
        const Tensor dy = gradients[i];
        if (layer->kind == ADD) {
            const Tensor other = stored_at(take(pool), &dy);
            if (other.data == NULL) return 1;
            copy(&dy, &other);
            pass_on(&gradients[layer->other], other, pool);
        }
        if (stops_at(layer, dimages)) {
            if (differentiate(network, i, &dy, NULL, dweights)) return 1;
            give_back(pool, dy.data);
            continue;
        }
        const Tensor dx = stored_at(in_place(layer->kind) ? dy.data : take(pool), &network->outputs[layer->input]);
        if (dx.data == NULL || differentiate(network, i, &dy, &dx, dweights)) return 1;
        if (dx.data != dy.data) give_back(pool, dy.data);
        pass_on(&gradients[layer->input], dx, pool);
    }
    if (dimages != NULL) from_blocks(dimages, &gradients[0]);
    return 0;
}

/* In: x, weights, statistics, layers, (epsilon, share of the new statistics), mask (N, C) or one number if there is
   none; the statistics are updated in place. Out: y, workspace. */
OPERATOR(network) {
    const float *rule = params[4];
    Network network = {.layers = params[3], .count = shapes[3][0], .images = shapes[0][0], .weights = params[1],
                       .epsilon = rule[0], .new_share = rule[1], .mask = ranks[5] == 2 ? params[5] : NULL};
    int failed = lay_out(&network, params[7], shapes[7][0]);
    for (int i = 0; i < network.count && !failed; i++) failed = run(&network, i, params[0], params[2]);
    if (!failed) from_blocks(params[6], &network.outputs[network.count - 1]);
    free(network.outputs);
    return failed;
}

/* In: weights, layers, rule, mask, workspace, dy. Out: dweights, dx or one number if nobody needs it, and memory. */
OPERATOR(network_gradients) {
    const float *rule = params[2];
    Network network = {.layers = params[1], .count = shapes[1][0], .images = shapes[5][0], .weights = params[0],
                       .epsilon = rule[0], .new_share = rule[1], .mask = ranks[3] == 2 ? params[3] : NULL};
    int failed = lay_out(&network, params[4], shapes[4][0]);
    Pool pool = {.count = 0};
    const size_t of_buffer = network.largest + CACHE_LINE;
    if (BUFFERS * of_buffer > (size_t)shapes[8][0]) failed = 1;
    for (int i = 0; i < BUFFERS && !failed; i++) give_back(&pool, aligned((float *)params[8] + i * of_buffer));
    if (!failed) failed = go_back(&network, params[5], params[6], ranks[7] == 4 ? params[7] : NULL, &pool);
    free(network.outputs);
    return failed;
}
