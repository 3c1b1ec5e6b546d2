/* Convolution of float32 NCHW over all channels and its gradients, as custom operators of MindSpore.

   MindSpore's operator (oneDNN on plain NCHW) unrolls every image (im2col) and multiplies matrices. Here the phases of
   all channels (phases.h) are one small copy, and everything else is multiply-adds on sums that stay in registers. A
   1 x 1 convolution of planes that are not small needs no copy. One thread. */

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lanes.h"
#include "operator.h"
#include "phases.h"

enum {
    FOUR = 4,  /* output channels whose sums are in registers */
    TWO = 2,   /* vectors of each; sixteen registers have room for these sums and their factors */
    THREE = 3, /* input channels at a time in the gradient of the weights */
    LONG_ENOUGH = 512,
    LONG_PLANE = 64, /* pixels from which on a 1 x 1 convolution reads and writes planes in place */
    CACHE_STRIDE = 1024, CACHE_WAYS = 8 /* floats at this distance share a set of the first cache, which has 8 ways */
};

/* Planes of all channels of some images, in the layout of one multiply-add. */
typedef struct {
    const float *start;
    size_t channel; /* floats from one to the next */
    int channels;
} Planes;

/* out[o][i] = sum over channels c and taps t of weights[c][t][o] in[c][offsets[t] + i], for `blocks` vectors. */
INLINE void correlate_block(float *const *out, int i, int blocks, const Planes *in, const int *offsets,
                            const float *weights, int taps) {
    Lanes sums[FOUR][TWO] = {{{0}}};
    for (int c = 0; c < in->channels; c++)
        for (int t = 0; t < taps; t++, weights += FOUR) {
            const float *from = in->start + c * in->channel + offsets[t] + i;
            for (int b = 0; b < blocks; b++) {
                const Lanes pixels = load(from + b * LANES);
                for (int o = 0; o < FOUR; o++) sums[o][b] += weights[o] * pixels;
            }
        }
    for (int o = 0; o < FOUR; o++)
        for (int b = 0; b < blocks; b++) store(out[o] + i + b * LANES, sums[o][b]);
}

/* The same for all i < count, rounded up to whole vectors. */
INLINE void correlate_channels(float *const *out, int count, const Planes *in, const int *offsets, const float *weights,
                               int taps) {
    int i = 0;
    for (; i + LANES < count; i += TWO * LANES) correlate_block(out, i, TWO, in, offsets, weights, taps);
    if (i < count) correlate_block(out, i, 1, in, offsets, weights, taps);
}

/* Whether planes can be written in place: rows without gaps, in whole vectors. */
INLINE bool in_place(const Geometry *g, int kernel, int stride) {
    const int pixels = g->height * g->width;
    return kernel == 1 && stride == 1 && pixels % LANES == 0 && pixels >= LONG_PLANE;
}

/* Whether they can be read in place, too: not if one pixel of all channels would share a few lines of the cache. */
INLINE bool read_in_place(const Geometry *g, int kernel, int stride, int channels) {
    return in_place(g, kernel, stride) && (g->height * g->width % CACHE_STRIDE != 0 || channels <= CACHE_WAYS);
}

/* Copy the planes of all channels of some images to phases. */
INLINE void cut_images(float *phases, size_t channel, const float *x, int images, const Geometry *g, int stride) {
    const size_t plane = (size_t)g->height * g->width;
    for (int n = 0; n < images; n++)
        for (int c = 0; c < g->in_channels; c++, x += plane) cut(phases + c * channel + n * g->image, x, g, stride);
}

/* Copy the planes of dy to rows. */
INLINE void lay_out_images(float *rows, const float *dy, int images, const Geometry *g) {
    const size_t plane = (size_t)g->out_height * g->out_width;
    for (int n = 0; n < images; n++)
        for (int c = 0; c < g->out_channels; c++, dy += plane)
            lay_out(rows + (size_t)c * g->phase + n * g->image, dy, g);
    for (int c = 0; c < g->out_channels; c++) clear_rest(rows + (size_t)c * g->phase, g, images);
}

static int fours(int channels) { return (channels + FOUR - 1) / FOUR; }

/* Pack weights as [fours of outputs][inputs][taps][FOUR]; outputs missing in the last four are zero. `output_step` and
   `input_step` are the distances between channels, `numbers` the taps that are used. */
static void pack(float *packed, const float *weight, int outputs, int output_step, int inputs, int input_step,
                 const int *numbers, int taps) {
    for (int four = 0; four < fours(outputs); four++)
        for (int c = 0; c < inputs; c++)
            for (int t = 0; t < taps; t++)
                for (int o = 0; o < FOUR; o++) {
                    const int output = four * FOUR + o;
                    *packed++ = output < outputs ? weight[output * output_step + c * input_step + numbers[t]] : 0;
                }
}

INLINE int convolve(const float *x, const float *weight, float *y, const Geometry *g, int kernel, int stride) {
    const int taps = kernel * kernel;
    const size_t x_plane = (size_t)g->height * g->width, y_plane = (size_t)g->out_height * g->out_width;
    const size_t channel = (size_t)stride * stride * g->phase, four_weights = (size_t)FOUR * g->in_channels * taps;
    const bool direct = in_place(g, kernel, stride);
    const bool read_direct = read_in_place(g, kernel, stride, g->in_channels);
    const size_t all_weights = fours(g->out_channels) * four_weights;
    const size_t all_phases = read_direct ? 0 : g->in_channels * channel;
    float *rows = calloc((size_t)FOUR * g->phase + all_weights + all_phases, sizeof(float));
    if (rows == NULL) return 1;
    float *weights = rows + FOUR * g->phase, *phases = weights + all_weights;
    int offsets[MAX_TAPS], numbers[MAX_TAPS];
    for (int t = 0; t < taps; t++) numbers[t] = t;
    tap_offsets(offsets, g, kernel, stride);
    pack(weights, weight, g->out_channels, g->in_channels * taps, g->in_channels, taps, numbers, taps);

    const int together = direct ? 1 : g->together;
    for (int first = 0; first < g->images; first += together) {
        const int images = at_most(together, g->images - first);
        const float *own_x = x + (size_t)first * g->in_channels * x_plane;
        Planes in = {own_x, x_plane, g->in_channels};
        if (!read_direct) {
            cut_images(phases, channel, own_x, images, g, stride);
            in = (Planes){phases, channel, g->in_channels};
        }
        for (int four = 0; four < fours(g->out_channels); four++) {
            const int outputs = at_most(FOUR, g->out_channels - four * FOUR);
            float *own_y = y + ((size_t)first * g->out_channels + four * FOUR) * y_plane, *out[FOUR];
            for (int o = 0; o < FOUR; o++) out[o] = direct && o < outputs ? own_y + o * y_plane : rows + o * g->phase;
            const int count = direct ? (int)y_plane : pixels_of(g, images);
            correlate_channels(out, count, &in, offsets, weights + four * four_weights, taps);
            for (int n = 0; n < images && !direct; n++)
                for (int o = 0; o < outputs; o++)
                    take_up(own_y + ((size_t)n * g->out_channels + o) * y_plane, out[o] + n * g->image, g);
        }
    }
    free(rows);
    return 0;
}

/* dx: the same with inputs and outputs exchanged and the taps reversed, for each phase of x. */
INLINE int differentiate_input(const float *weight, const float *dy, float *dx, const Geometry *g, int kernel,
                               int stride) {
    const int all_taps = kernel * kernel;
    const size_t x_plane = (size_t)g->height * g->width, y_plane = (size_t)g->out_height * g->out_width;
    const size_t channel = (size_t)stride * stride * g->phase;
    const size_t all_weights = (size_t)fours(g->in_channels) * FOUR * g->out_channels * all_taps;
    const bool direct = in_place(g, kernel, stride);
    const bool read_direct = read_in_place(g, kernel, stride, g->out_channels);
    const size_t all_dy = read_direct ? 0 : (size_t)g->out_channels * g->phase;
    float *back = calloc(FOUR * channel + all_weights + all_dy, sizeof(float));
    if (back == NULL) return 1;
    float *padded_dy = back + FOUR * channel + all_weights;
    int offsets[MAX_PHASES][MAX_TAPS];
    float *weights[MAX_PHASES], *next = back + FOUR * channel;
    for (int phase = 0; phase < stride * stride; phase++) {
        int numbers[MAX_TAPS];
        const int taps = taps_back(numbers, offsets[phase], g, phase / stride, phase % stride, kernel, stride);
        weights[phase] = next;
        pack(next, weight, g->in_channels, all_taps, g->out_channels, g->in_channels * all_taps, numbers, taps);
        next += (size_t)fours(g->in_channels) * FOUR * g->out_channels * taps;
    }

    const int together = direct ? 1 : g->together;
    for (int first = 0; first < g->images; first += together) {
        const int images = at_most(together, g->images - first);
        const float *own_dy = dy + (size_t)first * g->out_channels * y_plane;
        Planes in = {own_dy, y_plane, g->out_channels};
        if (!read_direct) {
            lay_out_images(padded_dy + g->margin, own_dy, images, g);
            in = (Planes){padded_dy, g->phase, g->out_channels};
        }
        const int count = direct ? (int)x_plane : pixels_of(g, images);
        for (int four = 0; four < fours(g->in_channels); four++) {
            const int outputs = at_most(FOUR, g->in_channels - four * FOUR);
            float *own_dx = dx + ((size_t)first * g->in_channels + four * FOUR) * x_plane, *out[FOUR];
            for (int a = 0; a < stride; a++)
                for (int b = 0; b < stride; b++) {
                    const int phase = a * stride + b, taps = count_back(a, b, kernel, stride);
                    for (int o = 0; o < FOUR; o++)
                        out[o] = direct && o < outputs ? own_dx + o * x_plane : back + o * channel + phase * g->phase;
                    const float *own_weights = weights[phase] + (size_t)four * FOUR * g->out_channels * taps;
                    correlate_channels(out, count, &in, offsets[phase], own_weights, taps);
                }
            for (int n = 0; n < images && !direct; n++)
                for (int o = 0; o < outputs; o++)
                    paste(own_dx + (n * g->in_channels + o) * x_plane, back + o * channel + n * g->image, g, stride);
        }
    }
    free(back);
    return 0;
}

/* sums[o][c] = the product of dy[o] and x[c], `count` floats each, rounded up to whole vectors. */
INLINE void multiply(float sums[FOUR][THREE], const float *const *dy, const float *const *x, int offset, int count) {
    Lanes own[FOUR][THREE] = {{{0}}};
    for (int i = 0; i < count; i += LANES) {
        Lanes pixels[THREE];
        for (int c = 0; c < THREE; c++) pixels[c] = load(x[c] + offset + i);
        for (int o = 0; o < FOUR; o++) {
            const Lanes slope = load(dy[o] + i);
            for (int c = 0; c < THREE; c++) own[o][c] += slope * pixels[c];
        }
    }
    for (int o = 0; o < FOUR; o++)
        for (int c = 0; c < THREE; c++) sums[o][c] = sum_of(own[o][c]);
}

INLINE int differentiate_weight(const float *x, const float *dy, float *dweight, const Geometry *g, int kernel,
                                int stride) {
    const int taps = kernel * kernel;
    const size_t x_plane = (size_t)g->height * g->width, y_plane = (size_t)g->out_height * g->out_width;
    const size_t channel = (size_t)stride * stride * g->phase;
    float *phases = calloc(g->in_channels * channel + (size_t)g->out_channels * g->phase, sizeof(float));
    if (phases == NULL) return 1;
    float *rows_dy = phases + g->in_channels * channel;
    int offsets[MAX_TAPS];
    tap_offsets(offsets, g, kernel, stride);
    memset(dweight, 0, (size_t)g->out_channels * g->in_channels * taps * sizeof(float));

    for (int first = 0; first < g->images; first += g->together) {
        const int images = at_most(g->together, g->images - first);
        cut_images(phases, channel, x + (size_t)first * g->in_channels * x_plane, images, g, stride);
        lay_out_images(rows_dy, dy + (size_t)first * g->out_channels * y_plane, images, g);
        for (int o = 0; o < g->out_channels; o += FOUR) {
            /* If there are fewer, the last one is repeated, and its products are not used. */
            const float *four_dy[FOUR];
            for (int i = 0; i < FOUR; i++)
                four_dy[i] = rows_dy + (size_t)at_most(g->out_channels - 1, o + i) * g->phase;
            for (int c = 0; c < g->in_channels; c += THREE) {
                const float *three_x[THREE];
                for (int i = 0; i < THREE; i++) three_x[i] = phases + at_most(g->in_channels - 1, c + i) * channel;
                for (int t = 0; t < taps; t++) {
                    float sums[FOUR][THREE];
                    multiply(sums, four_dy, three_x, offsets[t], pixels_of(g, images));
                    for (int i = 0; i < FOUR && o + i < g->out_channels; i++)
                        for (int j = 0; j < THREE && c + j < g->in_channels; j++)
                            dweight[((size_t)(o + i) * g->in_channels + c + j) * taps + t] += sums[i][j];
                }
            }
        }
    }
    free(phases);
    return 0;
}

/* The operators: params are the inputs, then the outputs. */

INLINE int forward(void **params, int64_t **shapes, int stride) {
    Geometry g = geometry_of(shapes[0], shapes[1], shapes[2], stride, LONG_ENOUGH);
    DISPATCH(convolve, params[0], params[1], params[2])
}

INLINE int input_gradient(void **params, int64_t **shapes, int stride) {
    Geometry g = geometry_of(shapes[0], shapes[1], shapes[2], stride, LONG_ENOUGH);
    DISPATCH(differentiate_input, params[1], params[2], params[3])
}

INLINE int weight_gradient(void **params, int64_t **shapes, int stride) {
    Geometry g = geometry_of(shapes[0], shapes[1], shapes[2], stride, LONG_ENOUGH);
    DISPATCH(differentiate_weight, params[0], params[2], params[3])
}

/* In: x, weight. Out: y. */
OPERATOR(convolution_stride_1) { return forward(params, shapes, 1); }
OPERATOR(convolution_stride_2) { return forward(params, shapes, 2); }

/* In: x, weight, dy. Out: dx; dweight. */
OPERATOR(convolution_input_gradient_stride_1) { return input_gradient(params, shapes, 1); }
OPERATOR(convolution_input_gradient_stride_2) { return input_gradient(params, shapes, 2); }
OPERATOR(convolution_weight_gradient_stride_1) { return weight_gradient(params, shapes, 1); }
OPERATOR(convolution_weight_gradient_stride_2) { return weight_gradient(params, shapes, 2); }
