/* Depthwise convolution of float32 NCHW planes and its gradients, as custom operators of MindSpore.

   MindSpore's operator (oneDNN on plain NCHW) multiplies, for each plane of each image, a 1 x k^2 matrix with an
   unrolled copy of the plane. That takes more than half of a training step of a mobile network. One thread. */

#include <stdint.h>
#include <stdlib.h>

#include "lanes.h"
#include "operator.h"
#include "phases.h"

enum { BLOCK = SLACK / LANES, LONG_ENOUGH = 256, AT_ONCE = 10 /* taps whose sums are in registers */ };

/* out[i] = sum over taps of weights[t] in[offsets[t] + i] for i < count, and for up to LANES - 1 more floats. */
INLINE void correlate(float *out, int count, const float *in, const int *offsets, const float *weights, int taps) {
    int i = 0;
    for (; i + BLOCK * LANES <= count; i += BLOCK * LANES) {
        Lanes sums[BLOCK] = {{0}};
        for (int t = 0; t < taps; t++)
            for (int b = 0; b < BLOCK; b++) sums[b] += weights[t] * load(in + offsets[t] + i + b * LANES);
        for (int b = 0; b < BLOCK; b++) store(out + i + b * LANES, sums[b]);
    }
    for (; i < count; i += LANES) {
        Lanes sum = {0};
        for (int t = 0; t < taps; t++) sum += weights[t] * load(in + offsets[t] + i);
        store(out + i, sum);
    }
}

/* sums[t] += lane by lane the product of a[i] and in[offsets[t] + i], for i < count rounded up to whole lanes. */
INLINE void correlate_products(Lanes *sums, const float *a, int count, const float *in, const int *offsets, int taps) {
    Lanes own[AT_ONCE] = {{0}};
    for (int i = 0; i < count; i += LANES)
        for (int t = 0; t < taps; t++) own[t] += load(a + i) * load(in + offsets[t] + i);
    for (int t = 0; t < taps; t++) sums[t] += own[t];
}

INLINE int convolve(const float *x, const float *weight, float *y, const Geometry *g, int kernel, int stride) {
    const int taps = kernel * kernel;
    const size_t x_plane = (size_t)g->height * g->width, y_plane = (size_t)g->out_height * g->out_width;
    float *phases = calloc((size_t)(stride * stride + 1) * g->phase, sizeof(float));
    if (phases == NULL) return 1;
    float *rows = phases + stride * stride * g->phase;
    int offsets[MAX_TAPS];
    tap_offsets(offsets, g, kernel, stride);
    for (int first = 0; first < g->images; first += g->together) {
        const int images = at_most(g->together, g->images - first);
        for (int channel = 0; channel < g->in_channels; channel++) {
            const size_t plane = (size_t)first * g->in_channels + channel;
            for (int n = 0; n < images; n++)
                cut(phases + n * g->image, x + (plane + n * g->in_channels) * x_plane, g, stride);
            correlate(rows, pixels_of(g, images), phases, offsets, weight + channel * taps, taps);
            for (int n = 0; n < images; n++)
                take_up(y + (plane + n * g->in_channels) * y_plane, rows + n * g->image, g);
        }
    }
    free(phases);
    return 0;
}

/* The offsets and weights that make the gradient of an input pixel of one phase. */
typedef struct {
    int offsets[MAX_TAPS];
    float weights[MAX_TAPS];
} Back;

INLINE Back back_of(const float *weight, const Geometry *g, int a, int b, int kernel, int stride) {
    Back back;
    int taps[MAX_TAPS];
    const int count = taps_back(taps, back.offsets, g, a, b, kernel, stride);
    for (int t = 0; t < count; t++) back.weights[t] = weight[taps[t]];
    return back;
}

INLINE int differentiate(const float *x, const float *weight, const float *dy, float *dx, float *dweight,
                         const Geometry *g, int kernel, int stride) {
    const int taps = kernel * kernel;
    const size_t x_plane = (size_t)g->height * g->width, y_plane = (size_t)g->out_height * g->out_width;
    const int all_phases = stride * stride * g->phase;
    float *phases = calloc((size_t)2 * all_phases + g->phase, sizeof(float));
    if (phases == NULL) return 1;
    float *back = phases + all_phases, *padded_dy = back + all_phases, *rows_dy = padded_dy + g->margin;
    int offsets[MAX_TAPS];
    tap_offsets(offsets, g, kernel, stride);

    for (int channel = 0; channel < g->in_channels; channel++) {
        Lanes sums[MAX_TAPS] = {{0}};
        Back backs[MAX_PHASES];
        for (int phase = 0; phase < stride * stride; phase++)
            backs[phase] = back_of(weight + channel * taps, g, phase / stride, phase % stride, kernel, stride);
        for (int first = 0; first < g->images; first += g->together) {
            const int images = at_most(g->together, g->images - first);
            const size_t plane = (size_t)first * g->in_channels + channel;
            for (int n = 0; n < images; n++) {
                lay_out(rows_dy + n * g->image, dy + (plane + n * g->in_channels) * y_plane, g);
                cut(phases + n * g->image, x + (plane + n * g->in_channels) * x_plane, g, stride);
            }
            clear_rest(rows_dy, g, images);
            const int count = pixels_of(g, images);
            int t = 0;
            for (; t + AT_ONCE <= taps; t += AT_ONCE)
                correlate_products(sums + t, rows_dy, count, phases, offsets + t, AT_ONCE);
            correlate_products(sums + t, rows_dy, count, phases, offsets + t, taps % AT_ONCE);

            for (int a = 0; a < stride; a++)
                for (int b = 0; b < stride; b++) {
                    const int phase = a * stride + b;
                    correlate(back + phase * g->phase, count, padded_dy, backs[phase].offsets, backs[phase].weights,
                              count_back(a, b, kernel, stride));
                }
            for (int n = 0; n < images; n++)
                paste(dx + (plane + n * g->in_channels) * x_plane, back + n * g->image, g, stride);
        }
        for (int t = 0; t < taps; t++) dweight[channel * taps + t] = sum_of(sums[t]);
    }
    free(phases);
    return 0;
}

/* The operators: params are the inputs, then the outputs. */

INLINE int forward(void **params, int64_t **shapes, int stride) {
    Geometry g = geometry_of(shapes[0], shapes[1], shapes[2], stride, LONG_ENOUGH);
    DISPATCH(convolve, params[0], params[1], params[2])
}

INLINE int backward(void **params, int64_t **shapes, int stride) {
    Geometry g = geometry_of(shapes[0], shapes[1], shapes[2], stride, LONG_ENOUGH);
    DISPATCH(differentiate, params[0], params[1], params[2], params[3], params[4])
}

/* In: x, weight. Out: y. */
OPERATOR(depthwise_stride_1) { return forward(params, shapes, 1); }
OPERATOR(depthwise_stride_2) { return forward(params, shapes, 2); }

/* In: x, weight, dy. Out: dx, dweight. */
OPERATOR(depthwise_gradients_stride_1) { return backward(params, shapes, 1); }
OPERATOR(depthwise_gradients_stride_2) { return backward(params, shapes, 2); }
