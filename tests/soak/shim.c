/* Between a victim and its libc: clocks that can be set, syncs that can be held, disks that can be full.
 *
 * Loaded with LD_PRELOAD by the soak alone; the product knows nothing of it. SOAK_SHIM names a folder:
 *   offset  int64 nanoseconds added to CLOCK_REALTIME (read through a shared mapping)
 *   hold    while it exists, the next fsync or fdatasync of a file whose path contains the text on its
 *           second line stops "before" or "after" the real call (first line); the shim renames `hold`
 *           to `inside` and waits there at most 5 s: long enough to be killed.
 *   full    while it exists, writes that would make a file under the folder on its first line longer
 *           fail with ENOSPC. Only used where no small file system can be mounted.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char *folder;
static volatile int64_t *offset;

__attribute__((constructor)) static void begin(void) {
    char path[4096];
    folder = getenv("SOAK_SHIM");
    if (!folder) return;
    snprintf(path, sizeof path, "%s/offset", folder);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return;
    void *map = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED) offset = map;
    close(fd);
}

/* --- the wall clock */

static void shift(struct timespec *ts) {
    int64_t ns = offset ? *offset : 0;
    if (!ns) return;
    ns += (int64_t)ts->tv_sec * 1000000000 + ts->tv_nsec;
    ts->tv_sec = ns / 1000000000;
    ts->tv_nsec = ns % 1000000000;
}

int clock_gettime(clockid_t clock, struct timespec *ts) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, ts);
    if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) shift(ts);
    return code;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
    struct timespec ts;
    (void)zone;
    int code = clock_gettime(CLOCK_REALTIME, &ts);
    if (code == 0) {
        tv->tv_sec = ts.tv_sec;
        tv->tv_usec = ts.tv_nsec / 1000;
    }
    return code;
}

time_t time(time_t *out) {
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    if (out) *out = ts.tv_sec;
    return ts.tv_sec;
}

/* --- syncs */

static int path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, size - 1);
    if (n < 0) return -1;
    path[n] = 0;
    return 0;
}

static int first_lines(const char *name, char *one, char *two, size_t size) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    char text[2048];
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) return -1;
    text[n] = 0;
    char *line = strchr(text, '\n');
    if (line) *line++ = 0;
    snprintf(one, size, "%s", text);
    char *end = line ? strchr(line, '\n') : NULL;
    if (end) *end = 0;
    snprintf(two, size, "%s", line ? line : "");
    return 0;
}

static void wait_inside(const char *when, int fd) {
    char mode[2048], part[2048], path[4096], from[4096], to[4096];
    if (!folder || first_lines("hold", mode, part, sizeof mode) || strcmp(mode, when)) return;
    if (path_of(fd, path, sizeof path) || !strstr(path, part)) return;
    snprintf(from, sizeof from, "%s/hold", folder);
    snprintf(to, sizeof to, "%s/inside", folder);
    if (rename(from, to)) return; /* another thread was faster */
    struct timespec pause = {0, 5000000};
    for (int i = 0; i < 1000 && access(to, F_OK) == 0; i++) nanosleep(&pause, NULL);
    unlink(to);
}

int fsync(int fd) {
    wait_inside("before", fd);
    int code = syscall(SYS_fsync, fd), kept = errno;
    wait_inside("after", fd);
    errno = kept;
    return code;
}

int fdatasync(int fd) {
    wait_inside("before", fd);
    int code = syscall(SYS_fdatasync, fd), kept = errno;
    wait_inside("after", fd);
    errno = kept;
    return code;
}

/* --- a full disk, where none can be mounted */

static int refuses(int fd, off_t end) {
    char under[2048], unused[2048], path[4096];
    struct stat st;
    if (!folder || first_lines("full", under, unused, sizeof under)) return 0;
    if (path_of(fd, path, sizeof path) || strncmp(path, under, strlen(under))) return 0;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode) || end <= st.st_size) return 0;
    errno = ENOSPC;
    return 1;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    return refuses(fd, at + (off_t)size) ? -1 : real(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

ssize_t write(int fd, const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = dlsym(RTLD_NEXT, "write");
    if (folder && size) {
        off_t at = lseek(fd, 0, SEEK_CUR);
        if (at >= 0 && refuses(fd, at + (off_t)size)) return -1;
    }
    return real(fd, data, size);
}
