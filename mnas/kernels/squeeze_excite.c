/* Squeeze-and-excitation of float32 NCHW: y = x sigmoid(W2 relu(W1 mean(x) + b1) + b2), and its gradients, as custom
   operators of MindSpore. MindSpore's operators for it are eight small ones forward and about fifteen backward. One
   thread. */

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "operator.h"

/* In: x (N, C, H, W), W1 (R, C, 1, 1), b1 (R), W2 (C, R, 1, 1), b2 (C).
   Out: y as x, mean (N, C), hidden (N, R), scale (N, C). */
OPERATOR(squeeze_excite) {
    const int64_t images = shapes[0][0], channels = shapes[0][1], pixels = shapes[0][2] * shapes[0][3];
    const int64_t reduced = shapes[1][0];
    const float *x = params[0], *w1 = params[1], *b1 = params[2], *w2 = params[3], *b2 = params[4];
    float *y = params[5], *mean = params[6], *hidden = params[7], *scale = params[8];
    for (int64_t n = 0; n < images; n++, mean += channels, hidden += reduced, scale += channels) {
        const float *image = x + n * channels * pixels;
        for (int64_t c = 0; c < channels; c++) {
            float sum = 0;
            for (int64_t i = 0; i < pixels; i++) sum += image[c * pixels + i];
            mean[c] = sum / pixels;
        }
        for (int64_t r = 0; r < reduced; r++) {
            float sum = b1[r];
            for (int64_t c = 0; c < channels; c++) sum += w1[r * channels + c] * mean[c];
            hidden[r] = sum < 0 ? 0 : sum;
        }
        for (int64_t c = 0; c < channels; c++) {
            float sum = b2[c];
            for (int64_t r = 0; r < reduced; r++) sum += w2[c * reduced + r] * hidden[r];
            scale[c] = 1 / (1 + expf(-sum));
        }
        for (int64_t c = 0; c < channels; c++)
            for (int64_t i = c * pixels; i < (c + 1) * pixels; i++) y[n * channels * pixels + i] = image[i] * scale[c];
    }
    return 0;
}

/* In: x, W1, W2, mean, hidden, scale, dy. Out: dx, dW1, db1, dW2, db2. */
OPERATOR(squeeze_excite_gradients) {
    const int64_t images = shapes[0][0], channels = shapes[0][1], pixels = shapes[0][2] * shapes[0][3];
    const int64_t reduced = shapes[1][0];
    const float *x = params[0], *w1 = params[1], *w2 = params[2];
    const float *mean = params[3], *hidden = params[4], *scale = params[5], *dy = params[6];
    float *dx = params[7], *dw1 = params[8], *db1 = params[9], *dw2 = params[10], *db2 = params[11];
    memset(dw1, 0, reduced * channels * sizeof(float));
    memset(dw2, 0, reduced * channels * sizeof(float));
    memset(db1, 0, reduced * sizeof(float));
    memset(db2, 0, channels * sizeof(float));
    float d_hidden[reduced], d_mean[channels];
    for (int64_t n = 0; n < images; n++, mean += channels, hidden += reduced, scale += channels) {
        const int64_t start = n * channels * pixels;
        memset(d_hidden, 0, sizeof d_hidden);
        for (int64_t c = 0; c < channels; c++) {
            float d_scale = 0;
            for (int64_t i = start + c * pixels; i < start + (c + 1) * pixels; i++) d_scale += dy[i] * x[i];
            const float slope = d_scale * scale[c] * (1 - scale[c]); /* of the sigmoid's argument */
            db2[c] += slope;
            for (int64_t r = 0; r < reduced; r++) {
                dw2[c * reduced + r] += slope * hidden[r];
                d_hidden[r] += slope * w2[c * reduced + r];
            }
        }
        memset(d_mean, 0, sizeof d_mean);
        for (int64_t r = 0; r < reduced; r++) {
            if (!(hidden[r] > 0)) continue;
            db1[r] += d_hidden[r];
            for (int64_t c = 0; c < channels; c++) {
                dw1[r * channels + c] += d_hidden[r] * mean[c];
                d_mean[c] += d_hidden[r] * w1[r * channels + c];
            }
        }
        for (int64_t c = 0; c < channels; c++) {
            const float share = d_mean[c] / pixels;
            for (int64_t i = start + c * pixels; i < start + (c + 1) * pixels; i++) dx[i] = dy[i] * scale[c] + share;
        }
    }
    return 0;
}
