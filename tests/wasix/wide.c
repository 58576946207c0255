/* A program without a libc, for wasix_32v1 or wasix_64v1: SIZE is what the definition has for witx's
 * `size`, PREVIEW1 the module that has preview1's functions, WASIX the other. It copies and sorts its
 * arguments, waits, writes and reads a file and a pipe, lists a directory and forks, and prints what
 * came of it, also of two threads that take turns: the same whatever the widths. POINTER is the type of
 * a pointer for the assembler. */

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define FROM(module, name) __attribute__((import_module(module), import_name(#name))) extern
#define OLD(name) FROM(PREVIEW1, name)
#define NEW(name) FROM(WASIX, name)

typedef struct { void *at; size_t n; } buffer;
typedef struct {
  uint64_t userdata;
  uint8_t kind;
  union {
    uint32_t fd;
    struct { uint32_t id; uint64_t timeout, precision; uint16_t flags; } clock;
  } u;
} subscription;
typedef struct { uint64_t userdata; uint16_t error; uint8_t kind; uint64_t n; uint16_t flags; } event;
typedef struct { uint64_t next, ino; uint32_t length; uint8_t type; } dirent;
typedef struct { uint8_t tag; uint32_t length; } prestat;
typedef struct { uint8_t tag; uint16_t code, signal; uint16_t rest; } status;
typedef struct { uint8_t tag; uint32_t pid; } option_pid;
typedef struct { void *stack, *tls, *function, *argument, *reserved[10]; size_t size, guard; } start;

OLD(args_sizes_get) int args_sizes_get(SIZE *, SIZE *);
OLD(args_get) int args_get(char **, char *);
OLD(clock_time_get) int clock_time_get(int, uint64_t, uint64_t *);
OLD(fd_close) int fd_close(int);
OLD(fd_prestat_get) int fd_prestat_get(int, prestat *);
OLD(fd_prestat_dir_name) int fd_prestat_dir_name(int, char *, SIZE);
OLD(fd_read) int fd_read(int, const buffer *, size_t, SIZE *);
OLD(fd_readdir) int fd_readdir(int, void *, size_t, uint64_t, SIZE *);
OLD(fd_seek) int fd_seek(int, int64_t, int, uint64_t *);
OLD(fd_write) int fd_write(int, const buffer *, size_t, SIZE *);
OLD(path_open)
int path_open(int, int, const char *, size_t, int, uint64_t, uint64_t, int, uint32_t *);
OLD(poll_oneoff) int poll_oneoff(const subscription *, event *, SIZE, SIZE *);
OLD(proc_exit) _Noreturn void proc_exit(int);
OLD(random_get) int random_get(void *, size_t);
NEW(fd_pipe) int fd_pipe(uint32_t *, uint32_t *);
NEW(futex_wait) int futex_wait(const void *, uint32_t, const uint64_t *, uint8_t *);
NEW(futex_wake_all) int futex_wake_all(const void *, uint8_t *);
NEW(getcwd) int getcwd(char *, size_t *);
NEW(proc_fork) int proc_fork(int, uint32_t *);
NEW(proc_join) int proc_join(option_pid *, int, status *);
NEW(thread_join) int thread_join(uint32_t);
NEW(thread_spawn_v2) int thread_spawn(const start *, uint32_t *);

static void must(int error, int line) {
  if (error) proc_exit(line % 256);
}
#define MUST(call) must(call, __LINE__)

static size_t length(const char *text) {
  size_t n = 0;
  while (text[n]) n++;
  return n;
}

static void put(const char *text, size_t n) {
  buffer halves[2] = {{(void *)text, n / 2}, {(void *)(text + n / 2), n - n / 2}};
  SIZE done[2] = {0, (SIZE)-7};
  MUST(fd_write(1, halves, 2, done));
  if (done[0] != n || done[1] != (SIZE)-7) proc_exit(1);
}

static void say(const char *text) { put(text, length(text)); put("\n", 1); }

static void number(uint64_t n) {
  char text[20], *at = text + 20;
  do *--at = '0' + n % 10; while (n /= 10);
  put(at, text + 20 - at);
  put("\n", 1);
}

static int before(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a < *b;
}

static void arguments(void) {
  static char *argv[16], strings[256];
  SIZE count = 0, bytes = 0;
  MUST(args_sizes_get(&count, &bytes));
  if (count > 16 || bytes > sizeof strings) proc_exit(2);
  MUST(args_get(argv, strings));
  for (SIZE i = 1; i < count; i++)
    for (SIZE j = i; j > 1 && before(argv[j], argv[j - 1]); j--) {
      char *was = argv[j];
      argv[j] = argv[j - 1], argv[j - 1] = was;
    }
  for (SIZE i = 1; i < count; i++) say(argv[i]);
}

static void waiting(void) {
  subscription wanted[2] = {{7, 0}, {8, 2}};
  wanted[0].u.clock.id = 1;
  wanted[0].u.clock.timeout = 2000000;
  wanted[1].u.fd = 1;
  event events[2];
  SIZE n = 0;
  uint64_t began, ended;
  MUST(clock_time_get(1, 0, &began));
  MUST(poll_oneoff(wanted, events, 1, &n));
  MUST(clock_time_get(1, 0, &ended));
  if (n != 1 || events[0].userdata != 7 || ended - began < 2000000) proc_exit(3);
  MUST(poll_oneoff(wanted, events, 2, &n));
  if (n != 1 || events[0].userdata != 8 || events[0].kind != 2) proc_exit(4);
  say("waited");
}

static void files(void) {
  prestat found;
  char name[64], back[64];
  MUST(fd_prestat_get(3, &found));
  MUST(fd_prestat_dir_name(3, name, found.length));
  put(name, found.length);
  put("\n", 1);
  uint32_t fd;
  MUST(path_open(3, 0, "file", 4, 9, 0x66, 0, 0, &fd));
  buffer data = {name, sizeof name};
  SIZE n;
  for (size_t i = 0; i < sizeof name; i++) name[i] = 'a' + i % 26;
  MUST(fd_write(fd, &data, 1, &n));
  uint64_t at;
  MUST(fd_seek(fd, 10, 0, &at));
  data.at = back;
  MUST(fd_read(fd, &data, 1, &n));
  put(back, n);
  put("\n", 1);
  MUST(fd_close(fd));
  uint64_t cookie = 0, names = 0;
  do {
    union { dirent entry; char bytes[256]; } room;
    MUST(fd_readdir(3, &room, sizeof room, cookie, &n));
    if (n < sizeof(dirent)) break;
    names += room.entry.length;
    cookie = room.entry.next;
  } while (1);
  number(names);
  size_t room = sizeof back;
  MUST(getcwd(back, &room));
  put(back, room);
  put("\n", 1);
}

static void child(void) {
  uint32_t ends[2], pid;
  MUST(fd_pipe(&ends[0], &ends[1]));
  MUST(proc_fork(1, &pid));
  char text[4] = "hi ";
  buffer data = {text, 3};
  SIZE n;
  if (pid == 0) {
    MUST(fd_write(ends[1], &data, 1, &n));
    proc_exit(42);
  }
  MUST(fd_close(ends[1]));
  text[0] = 0;
  MUST(fd_read(ends[0], &data, 1, &n));
  put(text, n);
  option_pid who = {1, pid};
  status how = {0};
  MUST(proc_join(&who, 0, &how));
  if (how.tag != 1 || who.pid != pid) proc_exit(5);
  number(how.code);
}

static _Atomic uint32_t turn;
static uint64_t log_[2];
static char stack[4096] __attribute__((aligned(16)));
static start begin_;

static void wait_for(uint32_t mine) {
  uint64_t never[2] = {0};
  uint8_t woken;
  for (uint32_t now; (now = turn) % 2 != mine;) MUST(futex_wait(&turn, now, never, &woken));
}

static void takes_turns(uint32_t mine) {
  uint8_t woken;
  for (int i = 0; i < 20; i++) {
    wait_for(mine);
    log_[mine] = log_[mine] * 31 + turn;
    turn++;
    MUST(futex_wake_all(&turn, &woken));
  }
}

/* The new thread needs a stack of its own before any C code. */
__attribute__((used)) static void thread(const start *args) {
  if (args->argument != (void *)&turn) proc_exit(6);
  takes_turns(1);
}
__asm__(
    ".globl wasi_thread_start\n"
    ".globaltype __stack_pointer, " POINTER "\n"
    "wasi_thread_start:\n"
    ".functype wasi_thread_start (i32, " POINTER ") -> ()\n"
    ".functype thread (" POINTER ") -> ()\n"
    "local.get 1\n" POINTER ".load 0\n"
    "global.set __stack_pointer\n"
    "local.get 1\n"
    "call thread\n"
    "end_function\n");

static void threads(void) {
  uint32_t tid;
  begin_.stack = stack + sizeof stack;
  begin_.argument = (void *)&turn;
  MUST(thread_spawn(&begin_, &tid));
  takes_turns(0);
  MUST(thread_join(tid));
  number(log_[0]);
  number(log_[1]);
}

void _start(void) {
  arguments();
  waiting();
  files();
  child();
  threads();
  proc_exit(9);
}
