/* What clang's -wasm-enable-sjlj calls for setjmp and longjmp. A call of a function that has setjmp in it is
 * known by the address of something of its own; longjmp throws, and whoever catches it asks whether the
 * place is one of its own. */

#include <stdint.h>

typedef struct {
  void *call;
  uint32_t label;
  struct { void *place; int value; } thrown;
} place;

void __wasm_setjmp(void *at, uint32_t label, void *call) {
  ((place *)at)->call = call;
  ((place *)at)->label = label;
}

uint32_t __wasm_setjmp_test(void *at, void *call) {
  return ((place *)at)->call == call ? ((place *)at)->label : 0;
}

_Noreturn void __wasm_longjmp(void *at, int value) {
  place *to = at;
  to->thrown.place = to;
  to->thrown.value = value ? value : 1;
  __builtin_wasm_throw(1, &to->thrown);
}
__asm__(".tagtype __c_longjmp i32\n.globl __c_longjmp\n__c_longjmp:\n");
