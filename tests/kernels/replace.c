// A guest that keeps its state as careful programs do: written to a temporary name, synced, renamed
// over the old one; with a log that is appended to, a counter changed in place, and old versions
// that are moved away and removed. What it reads back must be what it wrote.
// usage: replace ROUNDS, in an empty directory mapped as /work
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void check(int right, const char *what) {
  if (!right) {
    printf("wrong: %s\n", what);
    exit(1);
  }
}

static uint64_t mix(uint64_t x) {
  x ^= x >> 31;
  x *= 0x9E3779B97F4A7C15u;
  return x ^ x >> 29;
}

static void save(const char *name, uint64_t seed, int length) {
  static unsigned char data[70000];
  for (int i = 0; i < length; i++) data[i] = (unsigned char)(seed = mix(seed + i));
  int fd = open("/work/new", O_WRONLY | O_CREAT | O_TRUNC, 0666);
  check(fd >= 0, "create");
  for (int at = 0; at < length; at += 5000) {
    int n = length - at < 5000 ? length - at : 5000;
    check(write(fd, data + at, n) == n, "write");
  }
  check(fsync(fd) == 0, "sync");
  check(close(fd) == 0, "close");
  check(rename("/work/new", name) == 0, "rename");
}

static uint64_t load(const char *name) {
  static unsigned char data[70000];
  int fd = open(name, O_RDONLY);
  if (fd < 0) return 1;
  uint64_t sum = 2;
  ssize_t n;
  while ((n = read(fd, data, sizeof data)) > 0)
    for (ssize_t i = 0; i < n; i++) sum = mix(sum + data[i]);
  close(fd);
  return sum;
}

int main(int argc, char **argv) {
  int rounds = argc > 1 ? atoi(argv[1]) : 10;
  uint64_t state = 7;
  check(mkdir("/work/old", 0777) == 0, "mkdir");
  int log = open("/work/log", O_WRONLY | O_CREAT | O_APPEND, 0666);
  int counter = open("/work/counter", O_RDWR | O_CREAT, 0666);
  check(log >= 0 && counter >= 0, "open");
  for (int i = 0; i < rounds; i++) {
    char name[40], line[80];
    state = mix(state + load("/work/state"));
    if (i % 3 == 2) {
      sprintf(name, "/work/old/%d", i % 7);
      check(rename("/work/state", name) == 0, "move away");
    }
    if (i % 11 == 10) {
      sprintf(name, "/work/old/%d", (i - 1) % 7);
      unlink(name);
    }
    save("/work/state", state, (int)(state % 60000));
    uint64_t before = 0, value = state ^ i;
    off_t place = (off_t)(8 * (i % 600));
    check(pread(counter, &before, 8, place) >= 0, "read counter");
    state = mix(state + before);
    check(pwrite(counter, &value, 8, place) == 8, "write counter");
    if (i % 50 == 49) check(ftruncate(counter, 8 * (i % 300)) == 0, "cut");
    int n = sprintf(line, "%d %016llx\n", i, (unsigned long long)state);
    check(write(log, line, n) == n, "log");
    if (i % 20 == 0) {
      printf("round %s", line);
      fflush(stdout);
    }
  }
  struct stat status;
  check(fstat(log, &status) == 0, "stat");
  printf("done %016llx %lld\n", (unsigned long long)state, (long long)status.st_size);
  return 0;
}
