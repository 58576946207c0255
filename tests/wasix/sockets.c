/* Sockets as wasix-libc has them: each call that matters, and what comes back. Its exit code is the
   line that is not as it should be, modulo 256, or 0. The process makes its peers itself, so a snapshot
   in place must not be noticed anywhere. Built by test_libc.py. */
#include <string.h>
#include <stdlib.h>
#include <errno.h>
#include <unistd.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <poll.h>
#define CHECK(x) do { if (!(x)) exit(__LINE__ & 255); } while (0)
static void both(int family) {
  union { struct sockaddr a; struct sockaddr_in i4; struct sockaddr_in6 i6; struct sockaddr_storage s; } u, p;
  memset(&u, 0, sizeof u);
  socklen_t n = family == AF_INET ? sizeof u.i4 : sizeof u.i6;
  u.a.sa_family = family;
  if (family == AF_INET) u.i4.sin_addr.s_addr = htonl(INADDR_LOOPBACK); else u.i6.sin6_addr = in6addr_loopback;
  int l = socket(family, SOCK_STREAM, 0); CHECK(l >= 0);
  int one = 1; CHECK(setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0);
  CHECK(bind(l, &u.a, n) == 0);
  CHECK(listen(l, 5) == 0);
  socklen_t m = sizeof u; CHECK(getsockname(l, &u.a, &m) == 0);
  int port = family == AF_INET ? ntohs(u.i4.sin_port) : ntohs(u.i6.sin6_port);
  CHECK(port > 1024);
  int c = socket(family, SOCK_STREAM, 0); CHECK(c >= 0);
  CHECK(connect(c, &u.a, n) == 0);
  m = sizeof p; int a = accept(l, &p.a, &m); CHECK(a >= 0);
  union { struct sockaddr a; struct sockaddr_in i4; struct sockaddr_in6 i6; struct sockaddr_storage s; } q;
  m = sizeof q; CHECK(getsockname(c, &q.a, &m) == 0);
  CHECK(family == AF_INET ? q.i4.sin_port == p.i4.sin_port : q.i6.sin6_port == p.i6.sin6_port);
  m = sizeof q; CHECK(getpeername(a, &q.a, &m) == 0);
  CHECK(send(c, "hello", 5, 0) == 5);
  char buf[16]; CHECK(recv(a, buf, 16, MSG_PEEK) == 5); CHECK(recv(a, buf, 16, 0) == 5 && !memcmp(buf, "hello", 5));
  CHECK(recv(a, buf, 16, MSG_DONTWAIT) == -1 && errno == EAGAIN);
  CHECK(setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
  int on = 0; m = sizeof on; CHECK(getsockopt(c, IPPROTO_TCP, TCP_NODELAY, &on, &m) == 0 && on == 1);
  m = sizeof on; CHECK(getsockopt(c, SOL_SOCKET, SO_TYPE, &on, &m) == 0 && on == SOCK_STREAM);
  m = sizeof on; CHECK(getsockopt(l, SOL_SOCKET, SO_ACCEPTCONN, &on, &m) == 0 && on == 1);
  struct timeval tv = {0, 10000}; CHECK(setsockopt(a, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
  CHECK(recv(a, buf, 16, 0) == -1 && errno == EAGAIN);
  socklen_t size = 100000; CHECK(setsockopt(a, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) == 0);
  CHECK(shutdown(c, SHUT_WR) == 0); CHECK(recv(a, buf, 16, 0) == 0);
  close(a); close(c);
  int d = socket(family, SOCK_DGRAM, 0); CHECK(d >= 0);
  if (family == AF_INET) u.i4.sin_port = 0; else u.i6.sin6_port = 0;
  CHECK(bind(d, &u.a, n) == 0); m = sizeof u; CHECK(getsockname(d, &u.a, &m) == 0);
  int e = socket(family, SOCK_DGRAM, 0); CHECK(sendto(e, "dgram", 5, 0, &u.a, n) == 5);
  m = sizeof p; CHECK(recvfrom(d, buf, 16, 0, &p.a, &m) == 5);
  CHECK(sendto(d, "back", 4, 0, &p.a, m) == 4);
  CHECK(recv(e, buf, 16, 0) == 4 && !memcmp(buf, "back", 4));
  m = sizeof on; CHECK(getsockopt(d, SOL_SOCKET, SO_TYPE, &on, &m) == 0 && on == SOCK_DGRAM);
  struct pollfd pf[2] = {{l, POLLIN, 0}, {d, POLLIN | POLLOUT, 0}};
  CHECK(poll(pf, 2, 100) == 1 && pf[1].revents == POLLOUT && !pf[0].revents);
  close(d); close(e); close(l);
}
int main(void) {
  both(AF_INET); both(AF_INET6);
  int s[2]; CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, s) == 0);
  CHECK(write(s[0], "pair", 4) == 4); char buf[16]; CHECK(read(s[1], buf, 16) == 4);
  int ev = eventfd(3, EFD_NONBLOCK); CHECK(ev >= 0);
  int ep = epoll_create1(0); CHECK(ep >= 0);
  struct epoll_event w = {EPOLLIN | EPOLLET, {.u64 = 0}}; w.data.fd = ev;
  CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, ev, &w) == 0);
  struct epoll_event w2 = {EPOLLIN, {.u64 = 0}}; w2.data.fd = s[1];
  CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, s[1], &w2) == 0);
  struct epoll_event got[4]; CHECK(epoll_wait(ep, got, 4, 1000) == 1 && got[0].data.fd == ev && got[0].events == EPOLLIN);
  CHECK(epoll_wait(ep, got, 4, 10) == 0);
  eventfd_t v; CHECK(eventfd_read(ev, &v) == 0 && v == 3); CHECK(eventfd_read(ev, &v) == -1 && errno == EAGAIN);
  CHECK(write(s[0], "x", 1) == 1); CHECK(epoll_wait(ep, got, 4, -1) == 1 && got[0].data.fd == s[1]);
  int sem = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK); CHECK(eventfd_read(sem, &v) == 0 && v == 1); CHECK(eventfd_read(sem, &v) == 0 && v == 1); CHECK(eventfd_read(sem, &v) == -1);
  struct addrinfo *ai = 0, hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
  CHECK(getaddrinfo("localhost", "80", &hints, &ai) == 0);
  struct sockaddr_in *found = (struct sockaddr_in *)ai->ai_addr;
  CHECK(found->sin_addr.s_addr == htonl(INADDR_LOOPBACK) && ntohs(found->sin_port) == 80);
  return 0;
}
