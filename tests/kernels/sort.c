/* qsort calls back into the guest; so does bsearch. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct item { uint32_t key; double weight; const char *name; };
static unsigned long compared;

static int by_key(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    compared++;
    return (x->key > y->key) - (x->key < y->key);
}

static int by_weight(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    return x->weight < y->weight ? -1 : x->weight > y->weight ? 1 : by_key(a, b);
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 300, found = 0;
    static const char *names[] = {"ash", "birch", "cedar", "elm", "fir"};
    int (*const orders[])(const void *, const void *) = {by_key, by_weight, by_key};
    struct item *items = malloc(n * sizeof *items);
    uint32_t state = 1, sum = 0;
    for (int i = 0; i < n; i++) {
        state = state * 1664525 + 1013904223;
        items[i] = (struct item){state >> 8, (state >> 16) % 100 / 8.0, names[i % 5]};
    }
    for (int turn = 0; turn < 3; turn++) {
        qsort(items, n, sizeof *items, orders[turn]);
        for (int i = 0; i < n; i += n / 10 + 1) sum = sum * 31 + items[i].key + items[i].name[0];
    }
    for (int i = 0; i < n; i++) {
        struct item wanted = {.key = items[i].key ^ (i & 1)};
        found += bsearch(&wanted, items, n, sizeof *items, by_key) != NULL;
    }
    printf("sum %u, compared %lu, found %d\n", (unsigned)sum, compared, found);
    return 0;
}
