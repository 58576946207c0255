/* memory.grow, bulk copies that overlap, and pages touched here and there. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    int turns = argc > 1 ? atoi(argv[1]) : 5;
    uint8_t *held[16] = {0};
    size_t sizes[16] = {0};
    uint32_t state = 99, sum = 0;
    for (int i = 0; i < turns; i++) {
        state = state * 1664525 + 1013904223;
        int k = state >> 28;
        size_t size = 4096 + (state >> 10) % (1 << 17);
        uint8_t *grown = realloc(held[k], size);
        if (size > sizes[k]) memset(grown + sizes[k], (int)(i & 255), size - sizes[k]);
        held[k] = grown;
        sizes[k] = size;
        memmove(grown + 100, grown + (i % 2 ? 0 : 300), size - 400);
        for (size_t at = i % 97; at < size; at += 4099) sum = sum * 31 + grown[at]++;
        if ((i & (i - 1)) == 0) {
            size_t pages = __builtin_wasm_memory_grow(0, 1);
            *(uint32_t *)(pages << 16) = sum;
        }
    }
    printf("sum %u, pages %lu\n", (unsigned)sum, (unsigned long)__builtin_wasm_memory_size(0));
    return 0;
}
