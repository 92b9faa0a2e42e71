/** C that every program begins with: functions of floats that a compiler can compute several of at once. */

/**
 * e^x as 2^n · e^r with |r| ≤ ln 2 / 2, by its series up to r⁶; the power in two halves, so that the smallest and
 * largest results are not lost. tanh x by e^2|x|, near 0 by its series up to x⁹.
 */
export const prelude = `
static inline float power_of_two(int n) {
  const int bits = (n + 127) << 23;
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
static inline float exp32(float x) {
  float bounded = x > 89.f ? 89.f : x;
  bounded = bounded < -104.f ? -104.f : bounded;
  const float n = __builtin_rintf(bounded * 1.44269504f);
  const float r = bounded - n * 0.693359375f + n * 2.12194440e-4f;
  float p = 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.f;
  p = p * r + 1.f;
  const int whole = (int)n, half = whole >> 1;
  return p * power_of_two(half) * power_of_two(whole - half);
}
static inline float sigmoid32(float x) { return 1.f / (1.f + exp32(-x)); }
static inline float tanh32(float x) {
  const float size = __builtin_fabsf(x), square = x * x;
  float p = 2.18694885e-2f;
  p = p * square - 5.39682540e-2f;
  p = p * square + 1.33333333e-1f;
  p = p * square - 3.33333333e-1f;
  const float near = x + x * square * p;
  const float far = __builtin_copysignf(1.f - 2.f / (exp32(2.f * size) + 1.f), x);
  return size < 0.3f ? near : far;
}
`;
