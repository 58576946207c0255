/* What clang 22 is given to compile: enough code to keep it busy, and it prints a known number. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUND(n) \
    static uint32_t round_##n(uint32_t *s, const uint8_t *p, size_t len) { \
        uint32_t a = s[n & 7], b = s[(n + 3) & 7]; \
        for (size_t i = 0; i < len; i++) { \
            switch ((p[i] + n) % 9) { \
            case 0: a += b << (n % 13 + 1); break; \
            case 1: b ^= a >> (n % 7 + 1); break; \
            case 2: a = a * (2u * n + 1) + p[i]; break; \
            case 3: b = b * 69069u + n; break; \
            case 4: a ^= s[p[i] & 7]; break; \
            case 5: for (int k = 0; k < n % 5; k++) b += a * k; break; \
            case 6: s[(p[i] + n) & 7] += a ^ b; break; \
            case 7: a = (a << 5 | a >> 27) + s[n & 7]; break; \
            default: a -= b; b += n; \
            } \
        } \
        s[n & 7] = a; s[(n + 3) & 7] = b; \
        return a ^ b; \
    }
#define TEN(n) ROUND(n##0) ROUND(n##1) ROUND(n##2) ROUND(n##3) ROUND(n##4) \
               ROUND(n##5) ROUND(n##6) ROUND(n##7) ROUND(n##8) ROUND(n##9)
TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) TEN(6) TEN(7) TEN(8) TEN(9)

typedef uint32_t (*round_t)(uint32_t *, const uint8_t *, size_t);
#define NAMES(n) round_##n##0, round_##n##1, round_##n##2, round_##n##3, round_##n##4, \
                 round_##n##5, round_##n##6, round_##n##7, round_##n##8, round_##n##9
static const round_t rounds[] = {NAMES(1), NAMES(2), NAMES(3), NAMES(4), NAMES(5),
                                  NAMES(6), NAMES(7), NAMES(8), NAMES(9)};

int main(int argc, char **argv) {
    uint32_t state[8] = {1, 2, 3, 4, 5, 6, 7, 8}, sum = 0;
    const char *text = argc > 1 ? argv[1] : "the quick brown fox jumps over the lazy dog";
    for (int turn = 0; turn < 100; turn++)
        for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++)
            sum = sum * 31 + rounds[i](state, (const uint8_t *)text, strlen(text));
    printf("sum %08x\n", (unsigned)sum);
    return 0;
}
