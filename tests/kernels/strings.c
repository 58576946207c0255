/* Building text with the C library's printf, strtod, strtok and friends. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    int turns = argc > 1 ? atoi(argv[1]) : 5;
    char *text = NULL;
    size_t size = 0, used = 0;
    unsigned long sum = 5381;
    for (int i = 0; i < turns; i++) {
        char line[200];
        int length = snprintf(line, sizeof line, "%d:%-6s|%08.3f|%#x|%+lld;", i, i % 2 ? "odd" : "even",
                              i / 7.0, i * 7919, (long long)i * i * i - 1000);
        if (used + length + 1 > size) text = realloc(text, size = 2 * size + 256);
        memcpy(text + used, line, length + 1);
        used += length;
        if (used > 20000) {
            double total = 0;
            for (char *word = strtok(text, "|;"); word; word = strtok(NULL, "|;")) {
                for (char *c = word; *c; c++) sum = sum * 33 ^ toupper((unsigned char)*c);
                total += strtod(word, NULL);
            }
            sum += (unsigned long)total;
            used = 0;
        }
    }
    for (size_t i = 0; i < used; i++) sum = sum * 33 ^ text[i];
    printf("sum %lu, tail %.24s\n", sum, used ? text : "-");
    free(text);
    return 0;
}
