/* Batch norm of float32 NCHW in training with the activation after it, and their gradients, as custom operators of
   MindSpore.

   A channel's planes of all images are read from memory once; each further pass finds them in the cache. MindSpore's
   operators (oneDNN on plain NCHW, and a separate one for the activation) read them five times forward and seven times
   backward. If planes are small, those of several channels are processed together, so that memory is read in long
   pieces. The activation is a clamp to [low, high], infinite without a bound. One thread. */

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "lanes.h"
#include "operator.h"

enum { TOGETHER = 1024 /* floats of an image that are read at a time, and thus the most channels */ };

typedef struct {
    int64_t images, channels, pixels; /* pixels: of a plane */
} Planes;

typedef struct {
    float epsilon, new_share, low, high;
} Rule;

/* The norm of a channel: y = x scale + shift, clamped. */
typedef struct {
    float mean, scale, shift;
} Channel;

static Planes planes_of(const int64_t *shape) {
    return (Planes){.images = shape[0], .channels = shape[1], .pixels = shape[2] * shape[3]};
}

static int64_t channels_together(const Planes *p, int64_t first) {
    int64_t channels = p->pixels < TOGETHER ? TOGETHER / p->pixels : 1;
    return channels < p->channels - first ? channels : p->channels - first;
}

static float plane_sum(const float *x, int64_t pixels) {
    Lanes sums = {0};
    int64_t i = 0;
    for (; i + LANES <= pixels; i += LANES) sums += load(x + i);
    if (i < pixels) sums += load_first(x + i, pixels - i);
    return sum_of(sums);
}

static float plane_squares(const float *x, int64_t pixels, float mean) {
    Lanes sums = {0};
    int64_t i = 0;
    for (; i + LANES <= pixels; i += LANES) {
        const Lanes deviations = load(x + i) - mean;
        sums += deviations * deviations;
    }
    if (i < pixels) {
        const Lanes deviations = first_of(load_first(x + i, pixels - i) - mean, pixels - i);
        sums += deviations * deviations;
    }
    return sum_of(sums);
}

INLINE Lanes normalized(Lanes x, const Channel *c, const Rule *rule) {
    const Lanes low = rule->low - (Lanes){0}, high = rule->high - (Lanes){0};
    Lanes z = x * c->scale + c->shift;
    z = choose(z < low, low, z);
    return choose(z > high, high, z);
}

static void normalize_plane(float *y, const float *x, int64_t pixels, const Channel *c, const Rule *rule) {
    int64_t i = 0;
    for (; i + LANES <= pixels; i += LANES) store(y + i, normalized(load(x + i), c, rule));
    if (i < pixels) store_first(y + i, normalized(load_first(x + i, pixels - i), c, rule), pixels - i);
}

/* In: x, gamma, beta, moving_mean, moving_variance, rule; the moving statistics are updated in place. Out: y, mean,
   inverse standard deviation. */
OPERATOR(batch_norm) {
    const Planes p = planes_of(shapes[0]);
    const float *x = params[0], *gamma = params[1], *beta = params[2];
    float *moving_mean = params[3], *moving_variance = params[4];
    const Rule rule = *(const Rule *)params[5];
    float *y = params[6], *means = params[7], *inverse_deviations = params[8];
    const double values = (double)p.images * p.pixels;
    for (int64_t first = 0, together; first < p.channels; first += together) {
        together = channels_together(&p, first);
        double totals[TOGETHER];
        Channel channels[TOGETHER];
        memset(totals, 0, together * sizeof *totals);
        for (int64_t n = 0; n < p.images; n++)
            for (int64_t c = 0; c < together; c++)
                totals[c] += plane_sum(x + (n * p.channels + first + c) * p.pixels, p.pixels);
        for (int64_t c = 0; c < together; c++) {
            channels[c].mean = totals[c] / values;
            totals[c] = 0;
        }
        for (int64_t n = 0; n < p.images; n++)
            for (int64_t c = 0; c < together; c++)
                totals[c] += plane_squares(x + (n * p.channels + first + c) * p.pixels, p.pixels, channels[c].mean);
        for (int64_t c = 0; c < together; c++) {
            const int64_t channel = first + c;
            const float mean = channels[c].mean, variance = totals[c] / values;
            const float unbiased = values > 1 ? totals[c] / (values - 1) : variance;
            means[channel] = mean;
            inverse_deviations[channel] = 1.0f / sqrtf(variance + rule.epsilon);
            channels[c].scale = gamma[channel] * inverse_deviations[channel];
            channels[c].shift = beta[channel] - mean * channels[c].scale;
            moving_mean[channel] += rule.new_share * (mean - moving_mean[channel]);
            moving_variance[channel] += rule.new_share * (unbiased - moving_variance[channel]);
        }
        for (int64_t n = 0; n < p.images; n++)
            for (int64_t c = 0; c < together; c++) {
                const int64_t start = (n * p.channels + first + c) * p.pixels;
                normalize_plane(y + start, x + start, p.pixels, &channels[c], &rule);
            }
    }
    return 0;
}

/* dz: the gradient before the activation. */
INLINE Lanes dz_of(Lanes x, Lanes dy, const Channel *c, const Rule *rule) {
    const Lanes low = rule->low - (Lanes){0}, high = rule->high - (Lanes){0};
    const Lanes z = x * c->scale + c->shift;
    return choose((z > low) & (z < high), dy, (Lanes){0});
}

typedef struct {
    double dz, dz_x; /* sums of dz and of dz (x - mean) */
} Sums;

static void add_plane(Sums *sums, const float *x, const float *dy, int64_t pixels, const Channel *c, const Rule *rule) {
    Lanes sum_dz = {0}, sum_dz_x = {0};
    for (int64_t i = 0; i < pixels; i += LANES) {
        const bool whole = i + LANES <= pixels;
        const Lanes x_i = whole ? load(x + i) : load_first(x + i, pixels - i);
        const Lanes dy_i = whole ? load(dy + i) : load_first(dy + i, pixels - i);
        const Lanes dz = dz_of(x_i, dy_i, c, rule);
        sum_dz += dz;
        sum_dz_x += dz * (x_i - c->mean);
    }
    sums->dz += sum_of(sum_dz);
    sums->dz_x += sum_of(sum_dz_x);
}

/* dx = scale (dz - mean_dz - (x - mean) slope). */
static void differentiate_plane(float *dx, const float *x, const float *dy, int64_t pixels, const Channel *c,
                                const Rule *rule, float mean_dz, float slope) {
    int64_t i = 0;
    for (; i + LANES <= pixels; i += LANES) {
        const Lanes x_i = load(x + i), dz = dz_of(x_i, load(dy + i), c, rule);
        store(dx + i, c->scale * (dz - mean_dz - (x_i - c->mean) * slope));
    }
    if (i < pixels) {
        const Lanes x_i = load_first(x + i, pixels - i), dz = dz_of(x_i, load_first(dy + i, pixels - i), c, rule);
        store_first(dx + i, c->scale * (dz - mean_dz - (x_i - c->mean) * slope), pixels - i);
    }
}

/* In: x, gamma, beta, rule, mean, inverse standard deviation, dy. Out: dx, dgamma, dbeta. */
OPERATOR(batch_norm_gradients) {
    const Planes p = planes_of(shapes[0]);
    const float *x = params[0], *gamma = params[1], *beta = params[2];
    const Rule rule = *(const Rule *)params[3];
    const float *means = params[4], *inverse_deviations = params[5], *dy = params[6];
    float *dx = params[7], *dgamma = params[8], *dbeta = params[9];
    const double values = (double)p.images * p.pixels;
    for (int64_t first = 0, together; first < p.channels; first += together) {
        together = channels_together(&p, first);
        Channel channels[TOGETHER];
        Sums sums[TOGETHER];
        float slopes[TOGETHER];
        memset(sums, 0, together * sizeof *sums);
        for (int64_t c = 0; c < together; c++) {
            const int64_t channel = first + c;
            channels[c].mean = means[channel];
            channels[c].scale = gamma[channel] * inverse_deviations[channel];
            channels[c].shift = beta[channel] - means[channel] * channels[c].scale;
        }
        for (int64_t n = 0; n < p.images; n++)
            for (int64_t c = 0; c < together; c++) {
                const int64_t start = (n * p.channels + first + c) * p.pixels;
                add_plane(&sums[c], x + start, dy + start, p.pixels, &channels[c], &rule);
            }
        for (int64_t c = 0; c < together; c++) {
            const int64_t channel = first + c;
            dbeta[channel] = sums[c].dz;
            dgamma[channel] = sums[c].dz_x * inverse_deviations[channel];
            slopes[c] = sums[c].dz_x / values * inverse_deviations[channel] * inverse_deviations[channel];
        }
        for (int64_t n = 0; n < p.images; n++)
            for (int64_t c = 0; c < together; c++) {
                const int64_t start = (n * p.channels + first + c) * p.pixels;
                differentiate_plane(dx + start, x + start, dy + start, p.pixels, &channels[c], &rule,
                                    sums[c].dz / values, slopes[c]);
            }
    }
    return 0;
}
