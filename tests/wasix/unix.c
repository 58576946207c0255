/* What a Unix program does, as wasix-libc has it: threads, processes, pipes, signals, epoll, exec and
   longjmp; a part for each argument. What it prints is the same in every run, and what the reference
   runtime (wasmer-sdk 0.5.0) prints, but for
   "events" (its epoll_wait runs into its timeout) and "alarms" (none come there). Built by test_libc.py. */
#define _WASI_EMULATED_PROCESS_CLOCKS /* or sys/wait.h refuses */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static const char *self;

#define CHECK(x) do { if (!(x)) { printf("line %d: %s: %s\n", __LINE__, #x, strerror(errno)); exit(1); } } while (0)

static uint32_t mix(uint32_t x, int turns) {
  for (int i = 0; i < turns; i++) x = (x ^ x >> 15) * 0x2c1b3c6d + i;
  return x;
}

/* -- threads ---------------------------------------------------------------------------------- */

enum { WORKERS = 4, ITEMS = 60, PHASES = 5 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER, not_full = PTHREAD_COND_INITIALIZER;
static int queue[8], head, tail, destroyed, once_runs;
static uint32_t sums[WORKERS], shared;
static pthread_barrier_t barrier;
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void destroy(void *value) { __atomic_add_fetch(&destroyed, *(int *)value, __ATOMIC_SEQ_CST); free(value); }
static void run_once(void) { once_runs++; }

static void *consume(void *arg) {
  uint32_t sum = 0;
  for (;;) {
    pthread_mutex_lock(&lock);
    while (head == tail) pthread_cond_wait(&not_empty, &lock);
    int item = queue[tail++ % 8];
    pthread_cond_signal(&not_full);
    pthread_mutex_unlock(&lock);
    if (item < 0) return (void *)(uintptr_t)sum;
    sum += mix(item, 300);
  }
}

static void *meet(void *arg) {
  int me = (int)(uintptr_t)arg;
  int *mine = malloc(sizeof *mine);
  *mine = me + 1;
  pthread_setspecific(key, mine);
  pthread_once(&once, run_once);
  for (int phase = 0; phase < PHASES; phase++) {
    sums[me] = mix(sums[(me + phase) % WORKERS] + me, 200);
    pthread_barrier_wait(&barrier);
    pthread_rwlock_rdlock(&rwlock);
    uint32_t seen = shared;
    pthread_rwlock_unlock(&rwlock);
    if (me == phase % WORKERS) {
      pthread_rwlock_wrlock(&rwlock);
      shared = seen + phase + 1;
      pthread_rwlock_unlock(&rwlock);
    }
    pthread_barrier_wait(&barrier);
  }
  CHECK(*(int *)pthread_getspecific(key) == me + 1);
  return (void *)(uintptr_t)me;
}

static void threads(void) {
  pthread_t made[WORKERS];
  uint32_t total = 0;
  for (int i = 0; i < WORKERS; i++) CHECK(!pthread_create(&made[i], NULL, consume, NULL));
  for (int i = 0; i < ITEMS + WORKERS; i++) {
    pthread_mutex_lock(&lock);
    while (head - tail == 8) pthread_cond_wait(&not_full, &lock);
    queue[head++ % 8] = i < ITEMS ? i : -1;
    pthread_cond_signal(&not_empty);
    pthread_mutex_unlock(&lock);
  }
  for (int i = 0; i < WORKERS; i++) {
    void *sum;
    CHECK(!pthread_join(made[i], &sum));
    total += (uint32_t)(uintptr_t)sum;
  }
  printf("consumed %08x\n", total);
  fflush(stdout);
  CHECK(!pthread_barrier_init(&barrier, NULL, WORKERS));
  CHECK(!pthread_key_create(&key, destroy));
  for (int i = 0; i < WORKERS; i++) CHECK(!pthread_create(&made[i], NULL, meet, (void *)(uintptr_t)i));
  for (int i = 0; i < WORKERS; i++) {
    void *who;
    CHECK(!pthread_join(made[i], &who) && (int)(uintptr_t)who == i);
  }
  printf("shared %u, destroyed %d, once %d\n", shared, destroyed, once_runs);
}

/* -- processes -------------------------------------------------------------------------------- */

static void processes(void) {
  int ends[2], back[2];
  static uint32_t global = 7;
  CHECK(!pipe(ends) && !pipe(back));
  for (int i = 0; i < 3; i++) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) {
      global += mix(i, 2000);
      pid_t grandchild = fork();
      if (!grandchild) {
        global ^= 0x55;
        CHECK(write(back[1], &global, 4) == 4);
        _exit(20 + i);
      }
      int status;
      CHECK(waitpid(grandchild, &status, 0) == grandchild && WIFEXITED(status));
      char line[64];
      int n = snprintf(line, sizeof line, "child %d: %08x, its child ended with %d\n", i, global, WEXITSTATUS(status));
      CHECK(write(ends[1], line, n) == n);
      _exit(10 + i);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    char line[65] = "";
    CHECK(read(ends[0], line, 64) > 0);
    uint32_t theirs;
    CHECK(read(back[0], &theirs, 4) == 4);
    printf("%s  and %d; grandchild %08x; mine %u\n", line, WEXITSTATUS(status), theirs, global);
    fflush(stdout);
  }
  close(ends[1]);
  char rest;
  printf("at the end %zd\n", read(ends[0], &rest, 1));
  CHECK(waitpid(-1, NULL, 0) == -1 && errno == ECHILD);
}

/* -- signals ---------------------------------------------------------------------------------- */

static volatile int usr1, usr2, alarms;
static void on_usr1(int number) { usr1 += number == SIGUSR1; }
static void on_usr2(int number) { usr2++; if (usr2 == 1) raise(SIGUSR1); }
static void on_alarm(int number) { alarms++; }

static void signals(void) {
  CHECK(signal(SIGUSR1, on_usr1) != SIG_ERR && signal(SIGUSR2, on_usr2) != SIG_ERR);
  raise(SIGUSR1);
  printf("raised: %d\n", usr1);
  kill(getpid(), SIGUSR2);
  printf("in a handler: %d %d\n", usr1, usr2);
  signal(SIGUSR2, SIG_IGN);
  raise(SIGUSR2);
  printf("ignored: %d\n", usr2);
}

static volatile int broken_pipes;
static void on_pipe(int number) { broken_pipes++; }

static void broken(void) {
  int ends[2];
  CHECK(!pipe(ends) && !close(ends[0]) && signal(SIGPIPE, on_pipe) != SIG_ERR);
  for (int i = 0; i < 3; i++) CHECK(write(ends[1], "x", 1) == -1 && errno == EPIPE);
  printf("broken: %d\n", broken_pipes);
}

static void alarm_clock(void) {
  CHECK(signal(SIGALRM, on_alarm) != SIG_ERR);
  /* what repeats alone: of what comes once this libc tells nobody, so that alarm() never comes */
  struct itimerval often = {{0, 20000}, {0, 20000}}, never = {{0, 0}, {0, 0}};
  CHECK(!setitimer(ITIMER_REAL, &often, NULL));
  while (alarms < 3) usleep(5000);
  CHECK(!setitimer(ITIMER_REAL, &never, NULL));
  printf("alarms came\n");
}

/* -- events ----------------------------------------------------------------------------------- */

static int counter;

static void *writer(void *arg) {
  int *ends = arg;
  uint64_t three = 3;
  CHECK(write(counter, &three, 8) == 8);
  for (int i = 0; i < 20; i++) {
    mix(i, 500);
    char byte = 'a' + i;
    CHECK(write(ends[1], &byte, 1) == 1);
  }
  close(ends[1]);
  return NULL;
}

static void events(void) {
  int ends[2], list = epoll_create1(0);
  counter = eventfd(0, EFD_NONBLOCK);
  CHECK(list >= 0 && counter >= 0 && !pipe(ends));
  struct epoll_event each = {.events = EPOLLIN, .data.u32 = 1};
  CHECK(!epoll_ctl(list, EPOLL_CTL_ADD, ends[0], &each));
  each = (struct epoll_event){.events = EPOLLIN, .data.u32 = 2};
  CHECK(!epoll_ctl(list, EPOLL_CTL_ADD, counter, &each));
  pthread_t thread;
  CHECK(!pthread_create(&thread, NULL, writer, ends));
  char text[64];
  int got = 0, counted = 0;
  while (got < 20 || !counted) {
    struct epoll_event found[4];
    int n = epoll_wait(list, found, 4, 5000);
    CHECK(n > 0);
    for (int i = 0; i < n; i++) {
      uint64_t value;
      if (found[i].data.u32 == 2 && read(counter, &value, 8) == 8) counted += value;
      if (found[i].data.u32 == 1) {
        ssize_t size = read(ends[0], text + got, sizeof text - got);
        if (size > 0) got += size;
      }
    }
  }
  CHECK(!pthread_join(thread, NULL));
  printf("read %.*s, counted %d\n", got, text, counted);
}

/* -- programs --------------------------------------------------------------------------------- */

static void said(char **argv) {
  printf("told: %s, %s; variable %s\n", argv[2], argv[3], getenv("SAID"));
  fflush(stdout);
  exit(atoi(argv[4]));
}

static void programs(void) {
  char *spawned[] = {(char *)self, "told", "one", "spawned", "31", NULL};
  char *variables[] = {"SAID=to the child", NULL};
  pid_t child;
  int status;
  CHECK(!posix_spawn(&child, self, NULL, NULL, spawned, variables));
  CHECK(waitpid(child, &status, 0) == child);
  printf("spawned one ended with %d\n", WEXITSTATUS(status));
  fflush(stdout);
  child = fork();
  if (!child) {
    char *forked[] = {(char *)self, "told", "two", "forked", "32", NULL};
    execve(self, forked, variables);
    _exit(99);
  }
  CHECK(waitpid(child, &status, 0) == child);
  printf("forked one ended with %d\n", WEXITSTATUS(status));
  fflush(stdout);
  char *replaced[] = {(char *)self, "told", "three", "replaced", "33", NULL};
  execve(self, replaced, variables);
  printf("not reached: %s\n", strerror(errno));
}

/* -- jumps ------------------------------------------------------------------------------------ */

static jmp_buf out;

static uint32_t deep(int depth, uint32_t x) {
  if (!depth) longjmp(out, 1 + (int)(x % 5));
  return deep(depth - 1, mix(x, 50)) + depth;
}

static void jumps(void) {
  static int turns;
  volatile uint32_t kept = 1;
  int how = setjmp(out);
  if (how) kept = kept * 31 + how;
  if (turns++ < 6) deep(10 + turns, turns);
  printf("jumped %d times: %u\n", turns - 1, kept);
}

int main(int argc, char **argv) {
  const char *part = argc > 1 ? argv[1] : "";
  if (!strcmp(part, "told")) said(argv);
  if (!strcmp(part, "threads")) threads();
  if (!strcmp(part, "processes")) processes();
  if (!strcmp(part, "signals")) signals();
  if (!strcmp(part, "broken")) broken();
  if (!strcmp(part, "alarms")) alarm_clock();
  if (!strcmp(part, "events")) events();
  if (!strcmp(part, "programs")) self = argv[2], programs();
  if (!strcmp(part, "jumps")) jumps();
  return 0;
}
