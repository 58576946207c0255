/* Much allocating and freeing: binary trees, and a red-black-less search tree with deletions. */
#include <stdio.h>
#include <stdlib.h>

struct node { struct node *left, *right; unsigned value; };

static struct node *build(int depth, unsigned value) {
    struct node *n = malloc(sizeof *n + value % 32);
    n->value = value;
    n->left = depth ? build(depth - 1, value * 2 + 1) : NULL;
    n->right = depth ? build(depth - 1, value * 3 + 1) : NULL;
    return n;
}

static unsigned check(const struct node *n) {
    return n ? n->value + 5 * check(n->left) - 3 * check(n->right) : 1;
}

static void drop(struct node *n) {
    if (!n) return;
    drop(n->left);
    drop(n->right);
    free(n);
}

static struct node *insert(struct node *n, unsigned value) {
    if (!n) {
        n = calloc(1, sizeof *n);
        n->value = value;
    } else if (value < n->value) n->left = insert(n->left, value);
    else if (value > n->value) n->right = insert(n->right, value);
    return n;
}

static struct node *take(struct node *n, unsigned value) {
    if (!n) return NULL;
    if (value < n->value) n->left = take(n->left, value);
    else if (value > n->value) n->right = take(n->right, value);
    else if (n->left && n->right) {
        struct node *least = n->right;
        while (least->left) least = least->left;
        n->value = least->value;
        n->right = take(n->right, least->value);
    } else {
        struct node *rest = n->left ? n->left : n->right;
        free(n);
        return rest;
    }
    return n;
}

int main(int argc, char **argv) {
    int scale = argc > 1 ? atoi(argv[1]) : 6;
    unsigned sum = 0, state = 12345;
    struct node *keep = build(scale, 7), *search = NULL;
    for (int depth = 2; depth <= scale; depth++)
        for (int i = 0; i < 1 << (scale - depth); i++) {
            struct node *t = build(depth, i);
            sum = sum * 31 + check(t);
            drop(t);
        }
    for (int i = 0; i < 40 << (scale / 2); i++) {
        state = state * 1103515245 + 12345;
        search = i % 3 == 2 ? take(search, state >> 16 & 255) : insert(search, state >> 16 & 255);
    }
    printf("sum %u, kept %u, search %u\n", sum, check(keep), check(search));
    return 0;
}
