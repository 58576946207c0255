/* Call-heavy: Fibonacci, Ackermann, mutual recursion, and a recursion with many live locals. */
#include <stdio.h>
#include <stdlib.h>

static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }

static int ackermann(int m, int n) {
    if (m == 0) return n + 1;
    if (n == 0) return ackermann(m - 1, 1);
    return ackermann(m - 1, ackermann(m, n - 1));
}

static int odd(int n);
static __attribute__((noinline)) int even(int n) { return n == 0 ? 1 : odd(n - 1) ^ 0; }
static __attribute__((noinline)) int odd(int n) { return n == 0 ? 0 : even(n - 1) | 0; }

static double many(int n, double a, float b, long long c, int d) {
    if (n == 0) return a + b + c + d;
    double left = many(n - 1, a * 1.25, b + 1, c ^ n, d + 3);
    double right = many(n - 1, a + 0.5, b * 0.5f, c * 3, d - n);
    return left - right + a * b + (double)(c % 97) + d;
}

int main(int argc, char **argv) {
    int scale = argc > 1 ? atoi(argv[1]) : 20;
    printf("fib %d\n", fib(scale));
    printf("ackermann %d\n", ackermann(2, scale));
    printf("even %d odd %d\n", even(scale * 10), odd(scale * 10));
    printf("many %.6e\n", many(scale * 2 / 3, 1, 2, 3, 4));
    return 0;
}
