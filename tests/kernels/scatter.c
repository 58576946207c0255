/* Words all over a large memory, each made from what two pages hold: a page that is lost, or older
   than it should be, changes the sum. In turn many pages are written to and few; some become zero,
   some a copy of another one, and the memory grows.
   usage: scatter PAGES TURNS WRITES */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS = 4096 / sizeof(uint64_t) };
typedef uint64_t page[WORDS];

static uint64_t state = 88172645463325252u;

static uint32_t below(uint32_t n) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)((state >> 32) * n >> 32);
}

int main(int argc, char **argv) {
    uint32_t pages = argc > 1 ? atoi(argv[1]) : 4, sum = 0;
    int turns = argc > 2 ? atoi(argv[2]) : 2, writes = argc > 3 ? atoi(argv[3]) : 20;
    page *memory = aligned_alloc(sizeof(page), pages * sizeof(page));
    for (uint32_t i = 0; i < pages; i++) memory[i][i % WORDS] = i + 1;
    for (int turn = 0; turn < turns; turn++) {
        uint32_t window = 1 + (pages - 1 >> 2 * (turn % 4)), first = below(pages - window + 1);
        for (int i = 0; i < writes; i++) {
            uint64_t *from = memory[below(pages)], *to = memory[first + below(window)];
            uint32_t word = below(WORDS);
            to[word] = to[word] * 6364136223846793005u + (from[word] ^ state);
            state += to[word];
        }
        memset(memory[below(pages)], 0, sizeof(page));
        memcpy(memory[below(pages)], memory[below(pages)], sizeof(page));
        uint64_t *grown = (uint64_t *)(__builtin_wasm_memory_grow(0, 1) << 16);
        grown[below(WORDS)] = state;
        state += grown[below(WORDS)];
    }
    for (uint32_t i = 0; i < pages; i++)
        for (int k = 0; k < WORDS; k++) sum = sum * 31 + (uint32_t)(memory[i][k] ^ memory[i][k] >> 32);
    printf("sum %u, state %llu\n", (unsigned)sum, (unsigned long long)state);
    return 0;
}
