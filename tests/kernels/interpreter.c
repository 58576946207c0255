/* One big switch in a loop: a stack machine that runs a program computing Collatz lengths. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { PUSH, LOAD, STORE, ADD, MUL, AND, SHR, SUB, LESS, JUMP, JZERO, DUP, DROP, CALL, RETURN, HALT };

static const int program[] = {
    /* 0: v0 = 1 */ PUSH, 1, STORE, 0,
    /* 4: while v0 < v9 */ LOAD, 0, LOAD, 9, LESS, JZERO, 27,
    /* 11: call 29; v3 += v2 */ CALL, 29, LOAD, 3, LOAD, 2, ADD, STORE, 3,
    /* 20: v0 += 1 */ LOAD, 0, PUSH, 1, ADD, JUMP, 61,
    /* 27: */ HALT, HALT,
    /* 29: v1 = v0, v2 = 0 */ LOAD, 0, STORE, 1, PUSH, 0, STORE, 2,
    /* 37: while 1 < v1 */ PUSH, 1, LOAD, 1, LESS, JZERO, 60,
    /* 44: v2 += 1; v1 odd? */ LOAD, 2, PUSH, 1, ADD, STORE, 2, LOAD, 1, PUSH, 1, AND, JZERO, 65,
    /* 58: */ JUMP, 74,
    /* 60: */ RETURN,
    /* 61: */ STORE, 0, JUMP, 4,
    /* 65: v1 >>= 1 */ LOAD, 1, PUSH, 1, SHR, STORE, 1, JUMP, 37,
    /* 74: v1 = 3 v1 + 1 */ LOAD, 1, PUSH, 3, MUL, PUSH, 1, ADD, STORE, 1, JUMP, 37,
};

static int64_t run(int limit) {
    int64_t stack[64], vars[10] = {0};
    int calls[16], sp = 0, cp = 0, pc = 0;
    vars[9] = limit;
    for (;;) {
        switch (program[pc++]) {
        case PUSH: stack[sp++] = program[pc++]; break;
        case LOAD: stack[sp++] = vars[program[pc++]]; break;
        case STORE: vars[program[pc++]] = stack[--sp]; break;
        case ADD: sp--; stack[sp - 1] += stack[sp]; break;
        case MUL: sp--; stack[sp - 1] *= stack[sp]; break;
        case AND: sp--; stack[sp - 1] &= stack[sp]; break;
        case SHR: sp--; stack[sp - 1] >>= stack[sp]; break;
        case SUB: sp--; stack[sp - 1] -= stack[sp]; break;
        case LESS: sp--; stack[sp - 1] = stack[sp - 1] < stack[sp]; break;
        case JUMP: pc = program[pc]; break;
        case JZERO: pc = stack[--sp] ? pc + 1 : program[pc]; break;
        case DUP: stack[sp] = stack[sp - 1]; sp++; break;
        case DROP: sp--; break;
        case CALL: calls[cp++] = pc + 1; pc = program[pc]; break;
        case RETURN: pc = calls[--cp]; break;
        case HALT: return vars[3];
        }
    }
}

int main(int argc, char **argv) {
    int limit = argc > 1 ? atoi(argv[1]) : 100;
    printf("steps %lld\n", (long long)run(limit));
    return 0;
}
