/* A hundred thousand frames, each with something to lose. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static __attribute__((noinline)) uint64_t down(int n, uint64_t x, double y) {
    if (n == 0) return x;
    uint64_t below = down(n - 1, x * 6364136223846793005u + n, y + 0.5);
    return (below ^ x) + (uint64_t)y + n;
}

int main(int argc, char **argv) {
    int frames = argc > 1 ? atoi(argv[1]) : 100, turns = argc > 2 ? atoi(argv[2]) : 3;
    uint64_t sum = 0;
    for (int turn = 0; turn < turns; turn++) sum = sum * 31 + down(frames, turn + 1, turn / 4.0);
    printf("sum %016llx\n", (unsigned long long)sum);
    return 0;
}
