/* Loops without calls: a product of matrices of doubles, naive and blocked. */
#include <stdio.h>
#include <stdlib.h>

static void multiply(int n, const double *a, const double *b, double *c) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            double sum = 0;
            for (int k = 0; k < n; k++) sum += a[i * n + k] * b[k * n + j];
            c[i * n + j] = sum;
        }
}

static void blocked(int n, const double *a, const double *b, double *c) {
    for (int i = 0; i < n * n; i++) c[i] = 0;
    for (int k0 = 0; k0 < n; k0 += 16)
        for (int i = 0; i < n; i++)
            for (int k = k0; k < n && k < k0 + 16; k++) {
                double x = a[i * n + k];
                for (int j = 0; j < n; j++) c[i * n + j] += x * b[k * n + j];
            }
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 60;
    double *a = malloc(n * n * sizeof *a), *b = malloc(n * n * sizeof *b), *c = malloc(n * n * sizeof *c);
    for (int i = 0; i < n * n; i++) a[i] = i % 17 / 3.0, b[i] = i % 23 / 7.0;
    double trace = 0;
    for (int turn = 0; turn < 4; turn++) {
        turn % 2 ? blocked(n, a, b, c) : multiply(n, a, b, c);
        double *swap = a;
        a = c, c = swap;
        for (int i = 0; i < n; i++) trace += a[i * n + i];
        for (int i = 0; i < n * n; i++) a[i] /= n * 3.0;
    }
    printf("trace %.12e\n", trace);
    return 0;
}
