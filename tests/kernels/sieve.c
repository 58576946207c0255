/* The tightest loop there is: the sieve of Eratosthenes, and a count of prime gaps. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 10000, gaps[64] = {0};
    unsigned long long sum = 0;
    for (int turn = 0; turn < 3; turn++) {
        char *composite = malloc(n + 1);
        memset(composite, 0, n + 1);
        for (int i = 2; i * i <= n; i++)
            if (!composite[i])
                for (int j = i * i; j <= n; j += i) composite[j] = 1;
        for (int i = 3, last = 2; i <= n; i++)
            if (!composite[i]) sum += i ^ turn, gaps[(i - last) % 64]++, last = i;
        free(composite);
    }
    printf("sum %llu, twins %d, sixes %d\n", sum, gaps[2], gaps[6]);
    return 0;
}
