/* Planets: structures of doubles, square roots, a fixed number of small steps. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define BODIES 7
struct body { double x[3], v[3], mass; };

static double energy(const struct body *b) {
    double e = 0;
    for (int i = 0; i < BODIES; i++) {
        e += 0.5 * b[i].mass * (b[i].v[0] * b[i].v[0] + b[i].v[1] * b[i].v[1] + b[i].v[2] * b[i].v[2]);
        for (int j = i + 1; j < BODIES; j++) {
            double d2 = 0;
            for (int k = 0; k < 3; k++) d2 += (b[i].x[k] - b[j].x[k]) * (b[i].x[k] - b[j].x[k]);
            e -= b[i].mass * b[j].mass / sqrt(d2);
        }
    }
    return e;
}

static void step(struct body *b, double dt) {
    for (int i = 0; i < BODIES; i++)
        for (int j = i + 1; j < BODIES; j++) {
            double d[3], d2 = 1e-3;
            for (int k = 0; k < 3; k++) d[k] = b[i].x[k] - b[j].x[k], d2 += d[k] * d[k];
            double pull = dt / (d2 * sqrt(d2));
            for (int k = 0; k < 3; k++) {
                b[i].v[k] -= d[k] * b[j].mass * pull;
                b[j].v[k] += d[k] * b[i].mass * pull;
            }
        }
    for (int i = 0; i < BODIES; i++)
        for (int k = 0; k < 3; k++) b[i].x[k] += dt * b[i].v[k];
}

int main(int argc, char **argv) {
    int steps = argc > 1 ? atoi(argv[1]) : 20;
    struct body b[BODIES];
    for (int i = 0; i < BODIES; i++)
        b[i] = (struct body){{cos(i * 2.1) * (i + 1), sin(i * 2.1) * (i + 1), 0.1 * i},
                             {-sin(i * 2.1) * 0.6, cos(i * 2.1) * 0.6, 0.01 * i}, i ? 0.01 * i : 40};
    double before = energy(b);
    for (int i = 0; i < steps; i++) step(b, 0.001);
    printf("energy %.12f %.12f\n", before, energy(b));
    return 0;
}
