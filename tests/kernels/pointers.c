/* Calls through tables of function pointers, closures by hand, and pointers that change. */
#include <stdio.h>
#include <stdlib.h>

typedef unsigned (*operation)(unsigned, unsigned);
static unsigned add(unsigned a, unsigned b) { return a + b; }
static unsigned subtract(unsigned a, unsigned b) { return a - b; }
static unsigned multiply(unsigned a, unsigned b) { return a * b; }
static unsigned rotate(unsigned a, unsigned b) { return a << (b & 31) | a >> (-b & 31); }
static unsigned exclusive(unsigned a, unsigned b) { return a ^ b; }
static unsigned smaller(unsigned a, unsigned b) { return a < b ? a : b + 1; }
static operation table[] = {add, subtract, multiply, rotate, exclusive, smaller};
#define COUNT (sizeof table / sizeof *table)

struct task { void (*run)(struct task *, int); unsigned state; struct task *other; };

static void wander(struct task *t, int n);
static void settle(struct task *t, int n) {
    t->state = table[t->state % COUNT](t->state, n);
    if (t->state % 3 == 0) t->run = wander;
}
static void wander(struct task *t, int n) {
    t->state = t->state * 69069 + n;
    if (t->state & 0x100) t->run = settle;
    if (n > 0 && t->state & 0x400) t->other->run(t->other, n / 2);
}

int main(int argc, char **argv) {
    int turns = argc > 1 ? atoi(argv[1]) : 100;
    struct task tasks[5];
    unsigned sum = 1;
    for (int i = 0; i < 5; i++) tasks[i] = (struct task){i % 2 ? wander : settle, i + 1, &tasks[(i + 2) % 5]};
    for (int i = 0; i < turns; i++) {
        struct task *t = &tasks[i % 5];
        t->run(t, i);
        sum = table[(sum ^ i) % COUNT](sum, t->state | 1);
        if (i % 64 == 63) {
            operation first = table[0];
            for (unsigned k = 1; k < COUNT; k++) table[k - 1] = table[k];
            table[COUNT - 1] = first;
        }
    }
    printf("sum %u\n", sum);
    return 0;
}
