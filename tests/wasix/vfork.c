/* vfork as wasix-libc has it where exceptions are enabled: proc_fork_env has us act as the child, and when
 * that has ended, or is a program, longjmp brings us back to where setjmp was. Without a libc, but for
 * setjmp.c. Prints what came of it. */

#include <stddef.h>
#include <stdint.h>

#define FROM(name) __attribute__((import_module("wasix_32v1"), import_name(#name))) extern

typedef struct { const void *at; size_t n; } buffer;
typedef struct { uint8_t tag; uint16_t code, signal; } status;
typedef struct { uint8_t tag; uint32_t pid; } option_pid;

FROM(fd_close) int fd_close(int);
FROM(fd_pipe) int fd_pipe(uint32_t *, uint32_t *);
FROM(fd_read) int fd_read(int, const buffer *, size_t, size_t *);
FROM(fd_renumber) int fd_renumber(int, int);
FROM(fd_write) int fd_write(int, const buffer *, size_t, size_t *);
FROM(proc_exec3)
int proc_exec3(const char *, size_t, const char *, size_t, const char *, size_t, int, const char *, size_t);
FROM(proc_exit2) void proc_exit2(int);
FROM(proc_fork_env) int proc_fork_env(uint32_t *);
FROM(proc_id) int proc_id(uint32_t *);
FROM(proc_join) int proc_join(option_pid *, int, status *);

typedef struct { void *opaque[4]; } place;
int setjmp(place *) __attribute__((returns_twice));
_Noreturn void longjmp(place *, int);

static void must(int error, int line) {
  if (error) {
    proc_exit2(line);
    __builtin_trap();
  }
}
#define MUST(call) must(call, __LINE__)

static place back;
static uint32_t child, turns;

static void say(uint32_t n) {
  char text[12], *at = text + 12;
  *--at = '\n';
  do *--at = '0' + n % 10; while (n /= 10);
  buffer data = {at, text + 12 - at};
  size_t done;
  MUST(fd_write(1, &data, 1, &done));
}

static uint32_t me(void) {
  uint32_t pid;
  MUST(proc_id(&pid));
  return pid;
}

static void join(void) {
  option_pid who = {1, child};
  status how;
  MUST(proc_join(&who, 0, &how));
  say(how.code);
}

__attribute__((noinline)) static int act(int again) {
  if (again) return child;
  MUST(proc_fork_env(&child));
  return 0;
}
#define VFORK() act(setjmp(&back))

__attribute__((noinline)) static void ends(int code) {
  for (volatile int i = 0; i < 30; i++) turns++;
  proc_exit2(code);
  longjmp(&back, 1);
}

__attribute__((noinline)) static void runs(uint32_t out) {
  static const char name[] = "/bin/tell", args[] = "tell\nvfork\n";
  MUST(fd_renumber(out, 1));
  MUST(fd_close(out));
  if (proc_exec3("/nosuch", 7, args, sizeof args - 1, 0, 0, 0, 0, 0) != 44) ends(1);
  MUST(proc_exec3(name, sizeof name - 1, args, sizeof args - 1, 0, 0, 0, 0, 0));
  longjmp(&back, 1);
}

void _start(void) {
  volatile uint32_t kept = 11;
  if (VFORK() == 0) {
    kept = 12;
    say(me());
    ends(7);
  }
  say(me());
  say(kept + turns);
  join();
  uint32_t ends_of[2];
  MUST(fd_pipe(&ends_of[0], &ends_of[1]));
  if (VFORK() == 0) runs(ends_of[1]);
  MUST(fd_close(ends_of[1]));
  char text[64];
  buffer data = {text, sizeof text};
  size_t n, done;
  MUST(fd_read(ends_of[0], &data, 1, &n));
  data.n = n;
  MUST(fd_write(1, &data, 1, &done));
  say(n);
  join();
  proc_exit2(3);
}
