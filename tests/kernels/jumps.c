/* setjmp and longjmp through many frames, nested, with exceptions in flight while a handler runs. */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

static jmp_buf outer, inner;
static unsigned sum;

static __attribute__((noinline)) void descend(int depth, int code, jmp_buf *target) {
    volatile int kept = depth * 3 + code;
    if (depth == 0) longjmp(*target, code);
    descend(depth - 1, code + 1, target);
    sum += kept; /* never reached */
}

static __attribute__((noinline)) int attempt(int turn) {
    volatile int tries = 0;
    int code = setjmp(inner);
    if (code) {
        sum = sum * 31 + code + tries;
        for (int i = 0; i < 5; i++) sum ^= sum << 3 ^ i;
        if (turn % 4 == 3) longjmp(outer, code * 2 + 1);
        if (tries >= 2) return code;
    }
    tries++;
    descend(turn % 13 + 1, turn % 7 + 1, &inner);
    return -1;
}

int main(int argc, char **argv) {
    int turns = argc > 1 ? atoi(argv[1]) : 10;
    volatile int turn = 0, escapes = 0;
    int code = setjmp(outer);
    if (code) {
        escapes++;
        sum = sum * 17 + code;
        turn++;
    }
    for (; turn < turns; turn++) sum += attempt(turn) * turn;
    printf("sum %u, escapes %d\n", sum, escapes);
    return 0;
}
