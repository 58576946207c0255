/* A state machine of tail calls: no frame grows, and every step is a return_call. */
#include <stdio.h>
#include <stdlib.h>

typedef unsigned (*state)(unsigned left, unsigned value, const unsigned char *code);
#define STEP(name) static unsigned name(unsigned left, unsigned value, const unsigned char *code)
#define NEXT(v) \
    do { \
        unsigned next_ = (v); \
        if (left == 0) return next_; \
        __attribute__((musttail)) return states[code[left % 8] % 4](left - 1, next_, code); \
    } while (0)
static const state states[4];
STEP(increase) { NEXT(value + left); }
STEP(turn) { NEXT(value << 7 | value >> 25); }
STEP(scramble) { NEXT(value * 2654435761u); }
STEP(call) {
    unsigned inner = left > 40 ? increase(left % 31, value, code) : value;
    NEXT(inner + value * 3 + 1);
}
static const state states[4] = {increase, turn, scramble, call};

int main(int argc, char **argv) {
    unsigned steps = argc > 1 ? atoi(argv[1]) : 200;
    static const unsigned char code[8] = {3, 0, 2, 1, 3, 2, 0, 3};
    printf("value %u\n", states[0](steps, 1, code));
    return 0;
}
