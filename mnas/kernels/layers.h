/* The layers of a network and their gradients. Functions that need memory return 0, or 1 if there is none.

   Weights and their gradients are as MindSpore has them: convolutions (out, in, k, k), depthwise ones (C, 1, k, k). A
   gradient of weights is written; a gradient dx is NULL if nobody needs it. */

#pragma once

#include "tensor.h"

typedef struct {
    int kernel, stride;
} Shape;

int convolve(const Tensor *x, const float *weight, const Tensor *y, Shape shape);
int differentiate_convolution(const Tensor *x, const float *weight, const Tensor *dy, const Tensor *dx, float *dweight,
                              Shape shape);

int convolve_depthwise(const Tensor *x, const float *weight, const Tensor *y, Shape shape);
int differentiate_depthwise(const Tensor *x, const float *weight, const Tensor *dy, const Tensor *dx, float *dweight,
                            Shape shape);

/* A batch norm, and after it a clamp to [low, high], infinite without a bound. */
typedef struct {
    float epsilon, new_share, low, high;
} Rule;

/* `statistics`: moving mean and variance, updated in place; `saved`: mean and inverse deviation of each lane. */
void normalize(const Tensor *x, const float *gamma, const float *beta, float *statistics, const Rule *rule,
               const Tensor *y, float *saved);
/* dx replaces dy. */
void differentiate_norm(const Tensor *x, const float *gamma, const float *beta, const float *saved, const Rule *rule,
                        const Tensor *dy, float *dgamma, float *dbeta);

/* y = x sigmoid(W2 relu(W1 mean(x) + b1) + b2); the weights are W1 (R, C), b1, W2 (C, R), b2, one after the other.
   `saved`: mean (N, C), hidden (N, R), scale (N, C). */
void squeeze_excite(const Tensor *x, const float *weights, int reduced, const Tensor *y, float *saved);
/* dx replaces dy. */
void differentiate_squeeze_excite(const Tensor *x, const float *weights, int reduced, const float *saved,
                                  const Tensor *dy, float *dweights);

/* Average pooling with TensorFlow's SAME padding, which is not averaged. */
void pool(const Tensor *x, const Tensor *y, Shape shape);
void differentiate_pool(const Tensor *dy, const Tensor *dx, Shape shape);

/* Cut channels off, or append zero channels; its gradient is the same with dy and dx. */
void fit(const Tensor *x, const Tensor *y);
