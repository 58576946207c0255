/* A server for several clients at once, on the socket it is given as descriptor 3: poll, accept,
 * and non-blocking reads and writes, as wasi-libc has them. Each line comes back with the number of
 * lines there have been, of all clients, in front. "quit" ends it; stdout tells of each end of a
 * connection. Ends with 1 where something is not as it should be. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LISTENER = 3, CLIENTS = 16, LINE = 256 };

struct client {
  char line[LINE];
  size_t length;
};

static struct client clients[CLIENTS];
static struct pollfd polled[1 + CLIENTS];
static unsigned lines;

static void expect(int holds, const char *what) {
  if (!holds) {
    perror(what);
    exit(1);
  }
}

static void drop(int i, const char *why) {
  puts(why);
  fflush(stdout);
  expect(close(polled[1 + i].fd) == 0, "close");
  polled[1 + i].fd = -1;
}

static void reply(int i, struct client *client) {
  char answer[LINE + 16];
  int length = snprintf(answer, sizeof answer, "%u %s\n", ++lines, client->line);
  for (int done = 0; done < length;) {
    ssize_t n = send(polled[1 + i].fd, answer + done, (size_t)(length - done), 0);
    if (n < 0 && errno == EAGAIN) {
      struct pollfd writable = {.fd = polled[1 + i].fd, .events = POLLOUT};
      expect(poll(&writable, 1, -1) == 1, "poll");
    } else if (n < 0) {
      return; /* reading tells */
    } else {
      done += (int)n;
    }
  }
}

static void serve(int i) {
  struct client *client = &clients[i];
  for (;;) {
    char byte;
    ssize_t n = recv(polled[1 + i].fd, &byte, 1, 0);
    if (n < 0 && errno == EAGAIN)
      return;
    if (n <= 0) {
      drop(i, n == 0 ? "closed" : strerror(errno));
      return;
    }
    if (byte != '\n') {
      expect(client->length + 1 < LINE, "a line that is too long");
      client->line[client->length++] = byte;
      continue;
    }
    client->line[client->length] = 0;
    client->length = 0;
    if (strcmp(client->line, "quit") == 0) {
      shutdown(polled[1 + i].fd, SHUT_RDWR);
      exit(0);
    }
    reply(i, client);
  }
}

int main(void) {
  struct stat status;
  struct sockaddr address;
  FILE *file = fopen("data/hello", "r"); /* directories come behind the socket, and are found */
  expect(file != NULL && fgetc(file) == 'h' && fclose(file) == 0, "data/hello");
  expect(strcmp(getenv("LISTEN_FDS"), "1") == 0, "LISTEN_FDS");
  expect(fstat(LISTENER, &status) == 0 && S_ISSOCK(status.st_mode), "fstat");
  expect(fcntl(LISTENER, F_SETFL, O_NONBLOCK) == 0, "F_SETFL");
  expect(accept(LISTENER, &address, &(socklen_t){sizeof address}) < 0 && errno == EAGAIN, "accept");
  polled[0] = (struct pollfd){.fd = LISTENER, .events = POLLIN};
  for (int i = 0; i < CLIENTS; i++)
    polled[1 + i].fd = -1;
  puts("ready");
  fflush(stdout);
  for (;;) {
    expect(poll(polled, 1 + CLIENTS, -1) > 0, "poll");
    for (int i = 0; i < CLIENTS; i++)
      if (polled[1 + i].fd >= 0 && polled[1 + i].revents != 0)
        serve(i);
    if (polled[0].revents != 0) {
      int fd = accept4(LISTENER, &address, &(socklen_t){sizeof address}, SOCK_NONBLOCK);
      expect(fd >= 0, "accept4");
      int i = 0;
      while (i < CLIENTS && polled[1 + i].fd >= 0)
        i++;
      expect(i < CLIENTS, "too many clients");
      clients[i].length = 0;
      polled[1 + i] = (struct pollfd){.fd = fd, .events = POLLIN};
    }
  }
}
