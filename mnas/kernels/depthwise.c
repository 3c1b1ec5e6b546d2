/* Depthwise convolution of float32 NCHW planes and its gradients, as custom operators of MindSpore.

   MindSpore's own (oneDNN on plain NCHW) multiplies, for each plane of each image, a 1 x k^2 matrix with an unrolled
   copy of the plane; that is more than half of a training step of a mobile network.

   With padding k / 2 and stride s, the padded plane is cut into s x s phases: phase (a, b), a and b < s, holds the
   pixels (s u + a, s v + b). An output pixel (r, c) needs of phase (a % s, b % s) the pixel (r + a / s, c + b / s), for
   each tap (a, b) of the kernel. Where output rows are laid out as long as phase rows, that is a fixed distance for each
   tap, so that a tap is one multiply-add of two long vectors, whatever the stride and however narrow the plane. The
   columns between the output's width and the row length hold nothing of use and are left behind. One thread. */

#include <stdint.h>
#include <stdlib.h>

#include "lanes.h"
#include "operator.h"

enum { BLOCK = 4, SLACK = LANES * BLOCK, MAX_KERNEL = 7, MAX_STRIDE = 2 };

typedef struct {
    int images, channels, height, width, out_height, out_width;
    int kernel, stride, padding;
    int reach;         /* phase pixels that an output pixel needs beyond its own, on each axis */
    int rows, columns; /* of a phase */
    int phase;         /* floats from one phase to the next */
} Geometry;

static Geometry geometry_of(const int64_t *x, const int64_t *weight, const int64_t *y, int stride) {
    Geometry g = {.images = x[0], .channels = x[1], .height = x[2], .width = x[3], .kernel = weight[2],
                  .out_height = y[2], .out_width = y[3], .stride = stride};
    g.padding = g.kernel / 2;
    g.reach = (g.kernel - 1) / stride;
    g.rows = g.out_height + g.reach;
    g.columns = g.out_width + g.reach;
    g.phase = g.rows * g.columns + SLACK;
    return g;
}

/* out[i] = sum over taps of weights[t] in[offsets[t] + i] for i < count, and up to LANES - 1 floats more. */
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
    Lanes own[MAX_KERNEL] = {{0}};
    for (int i = 0; i < count; i += LANES)
        for (int t = 0; t < taps; t++) own[t] += load(a + i) * load(in + offsets[t] + i);
    for (int t = 0; t < taps; t++) sums[t] += own[t];
}

/* Cut a plane into phases; what lies outside of the plane is zero. */
INLINE void cut(float *phases, const float *plane, const Geometry *g, int stride) {
    for (int a = 0; a < stride; a++)
        for (int b = 0; b < stride; b++) {
            float *phase = phases + (a * stride + b) * g->phase;
            /* Columns [first, last) of the phase lie inside of the plane. */
            int first = (g->padding - b + stride - 1) / stride;
            int last = (g->width + g->padding - b + stride - 1) / stride;
            if (last > g->columns) last = g->columns;
            for (int u = 0; u < g->rows; u++, phase += g->columns) {
                int y = u * stride + a - g->padding;
                if (y < 0 || y >= g->height) continue; /* zero from the start, and never written */
                const float *row = plane + y * g->width + first * stride + b - g->padding;
                if (stride == 1) {
                    copy(phase + first, row, last - first);
                } else {
                    for (int v = 0; v < last - first; v++) phase[first + v] = row[v * stride];
                }
            }
        }
}

INLINE void tap_offsets(int *offsets, const Geometry *g, int kernel, int stride) {
    for (int a = 0; a < kernel; a++)
        for (int b = 0; b < kernel; b++)
            offsets[a * kernel + b] = (a % stride * stride + b % stride) * g->phase + a / stride * g->columns + b / stride;
}

INLINE int convolve(const float *x, const float *weight, float *y, const Geometry *g, int kernel, int stride) {
    int taps = kernel * kernel, out_plane = g->out_height * g->out_width, count = (g->out_height - 1) * g->columns + g->out_width;
    float *phases = calloc((size_t)stride * stride * g->phase + count + SLACK, sizeof(float));
    if (phases == NULL) return 1;
    float *rows = phases + stride * stride * g->phase;
    int offsets[MAX_KERNEL * MAX_KERNEL];
    tap_offsets(offsets, g, kernel, stride);
    for (int plane = 0; plane < g->images * g->channels; plane++) {
        cut(phases, x + (size_t)plane * g->height * g->width, g, stride);
        correlate(rows, count, phases, offsets, weight + plane % g->channels * taps, taps);
        for (int r = 0; r < g->out_height; r++)
            copy(y + (size_t)plane * out_plane + r * g->out_width, rows + r * g->columns, g->out_width);
    }
    free(phases);
    return 0;
}

/* Put a phase of rows that are `long_row` long into a plane; beyond the phase's columns the plane is zero. */
INLINE void paste(float *plane, const float *phase, int long_row, int a, int b, const Geometry *g, int stride) {
    int first = (g->padding - b + stride - 1) / stride;
    int last = (g->width + g->padding - b + stride - 1) / stride;
    int inside = last < g->columns ? last : g->columns;
    for (int u = 0; u < g->rows; u++) {
        int y = u * stride + a - g->padding;
        if (y < 0 || y >= g->height) continue;
        float *row = plane + y * g->width + first * stride + b - g->padding;
        const float *from = phase + u * long_row + first;
        if (stride == 1) {
            copy(row, from, inside - first);
        } else {
            for (int v = 0; v < inside - first; v++) row[v * stride] = from[v];
        }
        for (int v = inside - first; v < last - first; v++) row[v * stride] = 0;
    }
}

/* What an input pixel of phase (a, b) is made of: taps (a + stride u, b + stride v) of the kernel, turned around. */
typedef struct {
    int count, offsets[MAX_KERNEL * MAX_KERNEL];
    float weights[MAX_KERNEL * MAX_KERNEL];
} Taps;

INLINE Taps taps_back(const float *weight, int phase_a, int phase_b, int reach, int long_row, int kernel, int stride) {
    Taps taps;
    taps.count = 0;
    for (int a = phase_a; a < kernel; a += stride)
        for (int b = phase_b; b < kernel; b += stride) {
            taps.offsets[taps.count] = (reach - a / stride) * long_row + reach - b / stride;
            taps.weights[taps.count++] = weight[a * kernel + b];
        }
    return taps;
}

INLINE int differentiate(const float *x, const float *weight, const float *dy, float *dx, float *dweight, const Geometry *g,
                         int kernel, int stride) {
    int taps = kernel * kernel, count = (g->out_height - 1) * g->columns + g->out_width;
    /* dy with a margin, `reach` wide, on every side: what an input pixel reads when the taps are turned around. */
    int long_row = g->columns + g->reach, back_count = (g->rows - 1) * long_row + g->columns;
    int dy_floats = (g->rows + g->reach) * long_row + SLACK;
    float *phases = calloc((size_t)stride * stride * g->phase + dy_floats + back_count + SLACK + count + SLACK, sizeof(float));
    if (phases == NULL) return 1;
    float *wide_dy = phases + stride * stride * g->phase, *back = wide_dy + dy_floats, *flat_dy = back + back_count + SLACK;
    int offsets[MAX_KERNEL * MAX_KERNEL];
    tap_offsets(offsets, g, kernel, stride);

    for (int channel = 0; channel < g->channels; channel++) {
        Lanes sums[MAX_KERNEL * MAX_KERNEL] = {{0}};
        Taps taps_of_phase[MAX_STRIDE * MAX_STRIDE];
        for (int phase = 0; phase < stride * stride; phase++)
            taps_of_phase[phase] = taps_back(weight + channel * taps, phase / stride, phase % stride, g->reach, long_row, kernel, stride);
        for (int image = 0; image < g->images; image++) {
            size_t plane = (size_t)image * g->channels + channel;
            const float *plane_dy = dy + plane * g->out_height * g->out_width;
            for (int r = 0; r < g->out_height; r++) {
                copy(flat_dy + r * g->columns, plane_dy + r * g->out_width, g->out_width);
                copy(wide_dy + (r + g->reach) * long_row + g->reach, plane_dy + r * g->out_width, g->out_width);
            }
            cut(phases, x + plane * g->height * g->width, g, stride);
            for (int a = 0; a < kernel; a++)
                correlate_products(sums + a * kernel, flat_dy, count, phases, offsets + a * kernel, kernel);

            float *plane_dx = dx + plane * g->height * g->width;
            for (int phase_a = 0; phase_a < stride; phase_a++)
                for (int phase_b = 0; phase_b < stride; phase_b++) {
                    const Taps *back_taps = &taps_of_phase[phase_a * stride + phase_b];
                    correlate(back, back_count, wide_dy, back_taps->offsets, back_taps->weights,
                              ((kernel - phase_a + stride - 1) / stride) * ((kernel - phase_b + stride - 1) / stride));
                    paste(plane_dx, back, long_row, phase_a, phase_b, g, stride);
                }
        }
        for (int t = 0; t < taps; t++) dweight[channel * taps + t] = sum_of(sums[t]);
    }
    free(phases);
    return 0;
}

/* The operators: params are the inputs, then the outputs. Kernels 3 and 5 are compiled for their size. */

#define DISPATCH(function, ...)                                             \
    switch (g.kernel) {                                                     \
        case 3: return function(__VA_ARGS__, &g, 3, stride);                \
        case 5: return function(__VA_ARGS__, &g, 5, stride);                \
        default: return function(__VA_ARGS__, &g, g.kernel, stride);        \
    }

INLINE int forward(void **params, int64_t **shapes, int stride) {
    Geometry g = geometry_of(shapes[0], shapes[1], shapes[2], stride);
    if (g.kernel > MAX_KERNEL) return 1;
    DISPATCH(convolve, params[0], params[1], params[2])
}

INLINE int backward(void **params, int64_t **shapes, int stride) {
    Geometry g = geometry_of(shapes[0], shapes[1], shapes[2], stride);
    if (g.kernel > MAX_KERNEL) return 1;
    DISPATCH(differentiate, params[0], params[1], params[2], params[3], params[4])
}

/* In: x, weight. Out: y. */
OPERATOR(depthwise_stride_1) { return forward(params, shapes, 1); }
OPERATOR(depthwise_stride_2) { return forward(params, shapes, 2); }

/* In: x, weight, dy. Out: dx, dweight. */
OPERATOR(depthwise_gradients_stride_1) { return backward(params, shapes, 1); }
OPERATOR(depthwise_gradients_stride_2) { return backward(params, shapes, 2); }
