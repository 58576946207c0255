/* Vectors of 128 bits live in locals, on the operand stack and across calls. */
#include <stdio.h>
#include <stdlib.h>
#include <wasm_simd128.h>

static __attribute__((noinline)) v128_t mix(v128_t a, v128_t b, int n) {
    if (n == 0) return wasm_v128_xor(a, b);
    v128_t left = mix(wasm_i32x4_add(a, wasm_i32x4_splat(n)), b, n - 1);
    v128_t right = mix(b, wasm_i32x4_mul(a, wasm_i32x4_const(3, 5, 7, 11)), n / 2);
    return wasm_i32x4_sub(left, wasm_i8x16_shuffle(right, left, 1, 3, 5, 7, 9, 11, 13, 15, 0, 18, 4,
                                                   22, 8, 26, 12, 30));
}

static __attribute__((noinline)) float dot(const float *a, const float *b, int n) {
    v128_t sum = wasm_f32x4_splat(0), square = sum;
    for (int i = 0; i < n; i += 4) {
        v128_t x = wasm_v128_load(a + i), y = wasm_v128_load(b + i);
        sum = wasm_f32x4_add(sum, wasm_f32x4_mul(x, y));
        square = wasm_f32x4_max(square, wasm_f32x4_mul(x, x));
    }
    sum = wasm_f32x4_add(sum, wasm_f32x4_sqrt(square));
    return wasm_f32x4_extract_lane(sum, 0) + wasm_f32x4_extract_lane(sum, 1) +
           wasm_f32x4_extract_lane(sum, 2) + wasm_f32x4_extract_lane(sum, 3);
}

int main(int argc, char **argv) {
    int scale = argc > 1 ? atoi(argv[1]) : 8, n = scale * 16;
    float *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b);
    for (int i = 0; i < n; i++) a[i] = i % 13 / 4.0f, b[i] = i % 7 / 8.0f;
    double total = 0;
    for (int turn = 0; turn < scale; turn++) {
        total += dot(a, b, n);
        a[turn % n] = (float)(total / (turn + 1) / n);
    }
    v128_t r = mix(wasm_i32x4_const(1, 2, 3, 4), wasm_i64x2_splat(scale), scale % 32 + scale / 64 % 24);
    printf("%.6f %08x %08x %08x %08x\n", total, wasm_i32x4_extract_lane(r, 0), wasm_i32x4_extract_lane(r, 1),
           wasm_i32x4_extract_lane(r, 2), wasm_i32x4_extract_lane(r, 3));
    return 0;
}
