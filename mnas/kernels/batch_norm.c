/* Batch norm of float32 NCHW in training with the activation after it, and their gradients, as custom operators of
   MindSpore.

   A channel's planes of all images are read from memory once: each further pass finds them in the cache. MindSpore's own
   (oneDNN on plain NCHW, the activation an operator of its own) reads them five times forward and seven backward. The
   activation is a clamp to [low, high], infinite where there is no bound. One thread. */

#include <math.h>
#include <stdint.h>

#include "operator.h"

typedef struct {
    int64_t images, channels, pixels; /* pixels: of a plane */
} Planes;

typedef struct {
    float epsilon, new_share, low, high;
} Rule;

static Planes planes_of(const int64_t *shape) {
    return (Planes){.images = shape[0], .channels = shape[1], .pixels = shape[2] * shape[3]};
}

/* In: x, gamma, beta, moving_mean, moving_variance, rule; the moving ones are updated in place. Out: y, mean, inverse
   standard deviation. */
OPERATOR(batch_norm) {
    const Planes p = planes_of(shapes[0]);
    const float *x = params[0], *gamma = params[1], *beta = params[2];
    float *moving_mean = params[3], *moving_variance = params[4];
    const Rule rule = *(const Rule *)params[5];
    float *y = params[6], *means = params[7], *inverse_deviations = params[8];
    const double values = (double)p.images * p.pixels;
    for (int64_t c = 0; c < p.channels; c++) {
        double total = 0;
        for (int64_t n = 0; n < p.images; n++) {
            const float *plane = x + (n * p.channels + c) * p.pixels;
            float sum = 0;
            for (int64_t i = 0; i < p.pixels; i++) sum += plane[i];
            total += sum;
        }
        const float mean = total / values;
        total = 0;
        for (int64_t n = 0; n < p.images; n++) {
            const float *plane = x + (n * p.channels + c) * p.pixels;
            float sum = 0;
            for (int64_t i = 0; i < p.pixels; i++) sum += (plane[i] - mean) * (plane[i] - mean);
            total += sum;
        }
        const float variance = total / values, inverse_deviation = 1.0f / sqrtf(variance + rule.epsilon);
        const float scale = gamma[c] * inverse_deviation, shift = beta[c] - mean * scale;
        for (int64_t n = 0; n < p.images; n++) {
            const int64_t start = (n * p.channels + c) * p.pixels;
            for (int64_t i = start; i < start + p.pixels; i++) {
                float z = x[i] * scale + shift;
                z = z < rule.low ? rule.low : z;
                y[i] = z > rule.high ? rule.high : z;
            }
        }
        means[c] = mean;
        inverse_deviations[c] = inverse_deviation;
        const float unbiased = values > 1 ? total / (values - 1) : variance;
        moving_mean[c] += rule.new_share * (mean - moving_mean[c]);
        moving_variance[c] += rule.new_share * (unbiased - moving_variance[c]);
    }
    return 0;
}

/* In: x, gamma, beta, rule, mean, inverse standard deviation, dy. Out: dx, dgamma, dbeta. */
OPERATOR(batch_norm_gradients) {
    const Planes p = planes_of(shapes[0]);
    const float *x = params[0], *gamma = params[1], *beta = params[2];
    const Rule rule = *(const Rule *)params[3];
    const float *means = params[4], *inverse_deviations = params[5], *dy = params[6];
    float *dx = params[7], *dgamma = params[8], *dbeta = params[9];
    const double values = (double)p.images * p.pixels;
    for (int64_t c = 0; c < p.channels; c++) {
        const float mean = means[c], scale = gamma[c] * inverse_deviations[c], shift = beta[c] - mean * scale;
        double total_dz = 0, total_dz_x = 0;
        for (int64_t n = 0; n < p.images; n++) {
            const int64_t start = (n * p.channels + c) * p.pixels;
            float sum_dz = 0, sum_dz_x = 0;
            for (int64_t i = start; i < start + p.pixels; i++) {
                const float z = x[i] * scale + shift, dz = z > rule.low && z < rule.high ? dy[i] : 0.0f;
                sum_dz += dz;
                sum_dz_x += dz * (x[i] - mean);
            }
            total_dz += sum_dz;
            total_dz_x += sum_dz_x;
        }
        dbeta[c] = total_dz;
        dgamma[c] = total_dz_x * inverse_deviations[c];
        const float mean_dz = total_dz / values;
        const float slope = total_dz_x / values * inverse_deviations[c] * inverse_deviations[c];
        for (int64_t n = 0; n < p.images; n++) {
            const int64_t start = (n * p.channels + c) * p.pixels;
            for (int64_t i = start; i < start + p.pixels; i++) {
                const float z = x[i] * scale + shift, dz = z > rule.low && z < rule.high ? dy[i] : 0.0f;
                dx[i] = scale * (dz - mean_dz - (x[i] - mean) * slope);
            }
        }
    }
    return 0;
}
