/* 64-bit and 128-bit integers, division, bit counting, saturating conversions. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static uint64_t power(uint64_t base, uint64_t exponent, uint64_t modulus) {
    uint64_t result = 1;
    for (base %= modulus; exponent; exponent >>= 1) {
        if (exponent & 1) result = (uint64_t)((unsigned __int128)result * base % modulus);
        base = (uint64_t)((unsigned __int128)base * base % modulus);
    }
    return result;
}

static int prime(uint64_t n) {
    if (n < 4) return n > 1;
    if (n % 2 == 0) return 0;
    int twos = __builtin_ctzll(n - 1);
    for (int a = 2; a < 12 && (uint64_t)a < n; a++) {
        uint64_t x = power(a, (n - 1) >> twos, n);
        int composite = x != 1 && x != n - 1;
        for (int i = 1; i < twos && composite; i++) composite = (x = power(x, 2, n)) != n - 1;
        if (composite) return 0;
    }
    return 1;
}

int main(int argc, char **argv) {
    int count = argc > 1 ? atoi(argv[1]) : 5;
    uint64_t n = 1000000007ull, bits = 0;
    double logs = 0;
    for (int found = 0; found < count; n += 2)
        if (prime(n)) {
            found++;
            bits += __builtin_popcountll(n * n) * 3 + __builtin_clzll(n);
            logs += log((double)n) + (int32_t)(sqrt((double)n) * 1e4) % 7;
        }
    printf("last %llu, bits %llu, logs %.9f\n", (unsigned long long)n, (unsigned long long)bits, logs);
    return 0;
}
