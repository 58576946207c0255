/* Everything that can be done with files, at once and in any order, checked against a model of it.

   usage: files ROUNDS [DIRECTORY]        (/work)

   Contents (struct content) have names (struct name) and open descriptors (struct handle); all
   three are kept in memory beside the real ones, and whatever is read must be what the model says.
   Descriptors stay open over many rounds, also when the file has lost its name or was renamed;
   directory streams are read a few entries at a time while the directory changes. No result
   depends on time, inode numbers or the order of a directory. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONTENTS = 24, NAMES = 40, HANDLES = 24, DIRS = 6, STREAMS = 4, CAP = 20000 };

struct content { int names, handles, len, seconds; /* mtime that was set; 0: any */ unsigned char data[CAP]; };
struct name { int used, dir, number, content; }; /* content -1: a symbolic link */
struct handle { int used, fd, content, offset, append; };
struct dir { int used, parent, number; };
struct stream { DIR *open; int dir; int due[NAMES], was[NAMES], seen[NAMES]; };

static struct content contents[CONTENTS];
static struct name names[NAMES];
static struct handle handles[HANDLES];
static struct dir dirs[DIRS]; /* 0: the directory itself */
static struct stream streams[STREAMS];
static unsigned char buffer[2 * CAP];
static int counter, round_number;
static uint32_t noise = 1, digest = 2166136261u;

static unsigned chance(unsigned n) {
    noise = noise * 1664525u + 1013904223u;
    return (noise >> 8) % n;
}

static void mix(const void *data, int n) {
    uint32_t word = n;
    for (int i = 0; i < n; i += 4, data = (const char *)data + 4) {
        digest = (digest ^ word) * 16777619u;
        if (n - i >= 4) memcpy(&word, data, 4);
    }
}

static void fail(const char *what) {
    printf("round %d: %s: %s\n", round_number, what, strerror(errno));
    exit(1);
}

static void need(int right, const char *what) {
    if (!right) fail(what);
}

/* Names with a space, a newline and bytes that are no UTF-8. */
static void file_name(char *to, int number) {
    static const char *odd[] = {"f%d", "f %d", "f\n%d", "f\xff%d"};
    sprintf(to, odd[number % 4], number);
}

static void dir_path(char *to, int d) {
    if (d == 0) {
        strcpy(to, ".");
        return;
    }
    dir_path(to, dirs[d].parent);
    sprintf(to + strlen(to), "/d%d", dirs[d].number);
}

static void path_of(char *to, int d, int number) {
    dir_path(to, d);
    strcat(to, "/");
    file_name(to + strlen(to), number);
}

static void name_path(char *to, int n) { path_of(to, names[n].dir, names[n].number); }

static int any_dir(void) {
    int d;
    do d = chance(DIRS); while (!dirs[d].used);
    return d;
}

static int any_file(void) { /* a name that is not a link; -1: none found */
    for (int tries = 0; tries < 20; tries++) {
        int n = chance(NAMES);
        if (names[n].used && names[n].content >= 0) return n;
    }
    return -1;
}

static int free_name(void) {
    for (int n = 0; n < NAMES; n++)
        if (!names[n].used) return n;
    return -1;
}

static int new_content(void) {
    for (int c = 0; c < CONTENTS; c++)
        if (!contents[c].names && !contents[c].handles) {
            contents[c].len = contents[c].seconds = 0;
            return c;
        }
    return -1;
}

static void changed(int n) { /* a name comes or goes: open streams may or may not see it */
    for (int s = 0; s < STREAMS; s++) streams[s].due[n] = 0;
}

static void add_name(int d, int number, int content) {
    int n = free_name();
    names[n] = (struct name){1, d, number, content};
    if (content >= 0) contents[content].names++;
    changed(n);
}

static void drop_name(int n) {
    if (names[n].content >= 0) contents[names[n].content].names--;
    names[n].used = 0;
    changed(n);
}

static int random_bytes(int most) { /* a pattern, with a stamp in each block of 256 */
    int n = chance(4) ? chance(most / 8 + 1) : chance(most + 1), have = 16;
    for (int i = 0; i < have; i++) buffer[i] = (unsigned char)chance(256);
    for (; have < n; have *= 2) memcpy(buffer + have, buffer, have < n - have ? have : n - have);
    for (int i = 0; i < n; i += 256) buffer[i] = (unsigned char)chance(256);
    return n;
}

static void put(struct content *c, int at, const unsigned char *data, int n) {
    if (at > c->len) memset(c->data + c->len, 0, at - c->len);
    memcpy(c->data + at, data, n);
    if (at + n > c->len) c->len = at + n;
    c->seconds = 0;
}

static void check_fd(int fd, struct content *c) {
    struct stat status;
    need(fstat(fd, &status) == 0 && status.st_size == c->len, "size");
    need((int)status.st_nlink == c->names, "link count");
    need(!c->seconds || status.st_mtim.tv_sec == c->seconds, "modification time");
}

static void check_name(int n) {
    char path[200];
    struct stat status;
    struct content *c = &contents[names[n].content];
    name_path(path, n);
    need(stat(path, &status) == 0 && S_ISREG(status.st_mode), "stat");
    need(status.st_size == c->len, "size by name");
    int fd = open(path, O_RDONLY);
    need(fd >= 0, "open to check");
    check_fd(fd, c);
    need(read(fd, buffer, CAP) == c->len, "length");
    need(memcmp(buffer, c->data, c->len) == 0, "content");
    mix(buffer, c->len);
    need(close(fd) == 0, "close");
}

static void create(void) {
    char path[200];
    int c = new_content(), d = any_dir(), number = ++counter;
    if (c < 0 || free_name() < 0) return;
    path_of(path, d, number);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0666);
    need(fd >= 0, "create");
    int n = random_bytes(CAP / 2);
    need(write(fd, buffer, n) == n, "write");
    put(&contents[c], 0, buffer, n);
    need(close(fd) == 0, "close");
    add_name(d, number, c);
}

static void rewrite(int n) { /* open with O_TRUNC, or write in the middle, or append, or cut */
    char path[200];
    struct content *c = &contents[names[n].content];
    name_path(path, n);
    int how = chance(4);
    int fd = open(path, O_RDWR | (how == 0 ? O_TRUNC : how == 1 ? O_APPEND : 0));
    need(fd >= 0, "open to write");
    if (how == 0) c->len = c->seconds = 0;
    int most = how == 1 ? CAP - c->len : CAP / 2;
    int len = random_bytes(most < CAP / 4 ? most : CAP / 4);
    int at = how == 1 ? c->len : (int)chance(CAP / 2);
    if (how == 0) at = 0;
    if (how == 3) {
        need(ftruncate(fd, at) == 0, "truncate");
        if (at > c->len) memset(c->data + c->len, 0, at - c->len);
        c->len = at;
        c->seconds = 0;
    } else if (how == 2) {
        need(pwrite(fd, buffer, len, at) == len, "pwrite");
        if (len) put(c, at, buffer, len);
    } else {
        need(write(fd, buffer, len) == len, "write again");
        put(c, at, buffer, len);
    }
    check_fd(fd, c);
    if (chance(4) == 0) need(fsync(fd) == 0, "fsync");
    if (chance(4) == 0) {
        struct timespec times[2] = {{1, 0}, {c->seconds = 1000000000 + counter, 5}};
        need(futimens(fd, times) == 0, "futimens");
    }
    need(close(fd) == 0, "close");
}

static void replace(int n) { /* as careful programs write: a temporary name, then a rename */
    char path[200], temporary[200];
    int c = new_content();
    if (c < 0) return;
    name_path(path, n);
    dir_path(temporary, names[n].dir);
    strcat(temporary, "/temporary");
    FILE *file = fopen(temporary, "wb");
    need(file != NULL, "fopen");
    int len = random_bytes(CAP / 2);
    need((int)fwrite(buffer, 1, len, file) == len && fclose(file) == 0, "fwrite");
    put(&contents[c], 0, buffer, len);
    need(rename(temporary, path) == 0, "rename over");
    contents[names[n].content].names--;
    names[n].content = c;
    contents[c].names++;
}

static void move(int n) { /* to a new name, or over another one */
    char from[200], to[200];
    int other = any_file(), d = any_dir(), number = ++counter;
    name_path(from, n);
    if (other >= 0 && other != n && chance(2)) {
        name_path(to, other);
        int same = names[other].content == names[n].content;
        need(rename(from, to) == 0, "rename to another");
        if (same) return; /* two names of one file: rename does nothing */
        contents[names[other].content].names--;
        names[other].content = names[n].content;
        names[n].used = 0;
        changed(n);
        return;
    }
    path_of(to, d, number);
    need(rename(from, to) == 0, "rename");
    changed(n);
    names[n].dir = d, names[n].number = number;
}

static void link_again(int n) {
    char from[200], to[200];
    int d = any_dir(), number = ++counter;
    if (free_name() < 0) return;
    name_path(from, n);
    path_of(to, d, number);
    need(link(from, to) == 0, "link");
    add_name(d, number, names[n].content);
}

static void remove_name(int n) {
    char path[200];
    name_path(path, n);
    need(unlink(path) == 0, "unlink");
    drop_name(n);
    need(access(path, F_OK) == -1 && errno == ENOENT, "gone");
}

static void symbolic(void) { /* in the directory itself, to a path beneath it */
    char path[200], target[200], read_back[200];
    int n = any_file(), number = ++counter;
    if (n < 0 || free_name() < 0) return;
    name_path(target, n);
    path_of(path, 0, number);
    need(symlink(target, path) == 0, "symlink");
    int len = readlink(path, read_back, sizeof read_back);
    need(len == (int)strlen(target) && memcmp(target, read_back, len) == 0, "readlink");
    struct stat status;
    need(stat(path, &status) == 0 && status.st_size == contents[names[n].content].len, "through");
    add_name(0, number, -1);
}

static void hold(void) { /* a descriptor that stays open; sometimes of a file without a name */
    char path[200];
    int h = 0, n = any_file();
    while (h < HANDLES && handles[h].used) h++;
    if (h == HANDLES) return;
    int append = chance(3) == 0, fd, c;
    if (n < 0 || chance(4) == 0) {
        c = new_content();
        if (c < 0) return;
        path_of(path, any_dir(), ++counter);
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | (append ? O_APPEND : 0), 0666);
        need(fd >= 0 && unlink(path) == 0, "unlink while open");
    } else {
        name_path(path, n);
        c = names[n].content;
        fd = open(path, O_RDWR | (append ? O_APPEND : 0));
        need(fd >= 0, "open to hold");
    }
    handles[h] = (struct handle){1, fd, c, 0, append};
    contents[c].handles++;
}

static void use(int h) {
    struct handle *handle = &handles[h];
    struct content *c = &contents[handle->content];
    int left;
    switch (chance(5)) {
    case 0: {
        int n = random_bytes(CAP / 8), at = handle->append ? c->len : handle->offset;
        if (at + n > CAP) n = 0;
        need(write(handle->fd, buffer, n) == n, "write to a held one");
        if (n) put(c, at, buffer, n), handle->offset = at + n;
        break;
    }
    case 1:
        handle->offset = chance(CAP / 2);
        need(lseek(handle->fd, handle->offset, SEEK_SET) == handle->offset, "seek");
        break;
    case 2:
        need(close(handle->fd) == 0, "close a held one");
        handle->used = 0;
        c->handles--;
        return;
    default:
        left = c->len > handle->offset ? c->len - handle->offset : 0;
        if (left > 500) left = 500;
        need(read(handle->fd, buffer, 500) == left, "read from a held one");
        need(memcmp(buffer, c->data + handle->offset, left) == 0, "content of a held one");
        handle->offset += left;
        mix(buffer, left);
    }
    need(lseek(handle->fd, 0, SEEK_CUR) == handle->offset, "offset");
    check_fd(handle->fd, c);
}

static void make_dir(void) {
    char path[200];
    int d = 1;
    while (d < DIRS && dirs[d].used) d++;
    if (d == DIRS) return;
    dirs[d] = (struct dir){0, any_dir(), ++counter};
    dir_path(path, d);
    need(mkdir(path, 0777) == 0, "mkdir");
    dirs[d].used = 1;
}

static int below(int d, int other) { /* whether d is other, or lies in it */
    return d == other || (d && below(dirs[d].parent, other));
}

static void change_dir(void) { /* renamed, with all that is in it, or removed */
    char from[200], to[200];
    int d = any_dir(), target = any_dir(), inside = 0;
    if (d == 0) return;
    dir_path(from, d);
    for (int s = 0; s < STREAMS; s++)
        if (streams[s].open && below(streams[s].dir, d)) return;
    for (int n = 0; n < NAMES; n++) inside += names[n].used && names[n].dir == d;
    for (int e = 1; e < DIRS; e++) inside += dirs[e].used && dirs[e].parent == d;
    if (chance(2)) {
        need(rmdir(from) == (inside ? -1 : 0), "rmdir");
        if (!inside) dirs[d].used = 0;
        else need(errno == ENOTEMPTY, "not empty");
    } else if (!below(target, d)) {
        dir_path(to, target);
        sprintf(to + strlen(to), "/d%d", ++counter);
        need(rename(from, to) == 0, "rename of a directory");
        dirs[d].parent = target, dirs[d].number = counter;
        char path[200]; /* symbolic links into it dangle now */
        for (int n = 0; n < NAMES; n++)
            if (names[n].used && names[n].content >= 0 && below(names[n].dir, d)) {
                name_path(path, n);
                need(access(path, F_OK) == 0, "moved with its directory");
            }
    }
}

static void read_stream(int s) { /* a few entries of a stream that may be half read already */
    struct stream *stream = &streams[s];
    char path[200], expected[100];
    if (!stream->open) {
        stream->dir = any_dir();
        dir_path(path, stream->dir);
        stream->open = opendir(path);
        need(stream->open != NULL, "opendir");
        for (int n = 0; n < NAMES; n++) {
            stream->due[n] = names[n].used && names[n].dir == stream->dir;
            stream->was[n] = names[n].number;
            stream->seen[n] = 0;
        }
    }
    for (int left = 1 + chance(6); left; left--) {
        struct dirent *entry = readdir(stream->open);
        if (!entry) {
            for (int n = 0; n < NAMES; n++)
                need(!stream->due[n] || stream->seen[n] == 1, "all of a directory, once");
            closedir(stream->open);
            stream->open = NULL;
            return;
        }
        for (int n = 0; n < NAMES; n++) {
            file_name(expected, stream->was[n]);
            if (stream->due[n] && strcmp(expected, entry->d_name) == 0) stream->seen[n]++;
        }
    }
}

static void step(void) {
    int n = any_file(), h = chance(HANDLES);
    switch (chance(16)) {
    case 0: case 1: create(); break;
    case 2: hold(); break;
    case 3: make_dir(); break;
    case 4: change_dir(); break;
    case 5: symbolic(); break;
    case 6: case 7: read_stream(chance(STREAMS)); break;
    case 8: case 9: case 10: if (handles[h].used) use(h); break;
    default:
        if (n < 0) break;
        switch (chance(8)) {
        case 0: check_name(n); break;
        case 1: replace(n); break;
        case 2: move(n); break;
        case 3: link_again(n); break;
        case 4: remove_name(n); break;
        case 5: if (chance(3) == 0) remove_name(n); break;
        default: rewrite(n);
        }
    }
    if (chance(8) == 0) { /* room for new ones: a link goes */
        int l = chance(NAMES);
        if (names[l].used && names[l].content < 0) remove_name(l);
    }
}

int main(int argc, char **argv) {
    int rounds = atoi(argv[1]);
    need(chdir(argc > 2 ? argv[2] : "/work") == 0, "chdir");
    dirs[0].used = 1;
    for (round_number = 1; round_number <= rounds; round_number++) {
        step();
        if (round_number % 100 == 0) printf("round %d: %08x\n", round_number, digest);
    }
    for (int n = 0; n < NAMES; n++)
        if (names[n].used && names[n].content >= 0) check_name(n);
    for (int h = 0; h < HANDLES; h++)
        while (handles[h].used) use(h);
    for (int s = 0; s < STREAMS; s++)
        while (streams[s].open) read_stream(s);
    printf("done %d %08x\n", counter, digest);
    return 0;
}
