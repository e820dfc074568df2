/* A peer of the benchmark: C, the low-level API of libfuse 3, one thread. See __init__.py.
 *
 *   libfuse MNT FILE [LOG]
 */
#define FUSE_USE_VERSION 312
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define INODE 2
#define NAME "pages"
#define FOREVER 86400.0

static int backing, log_fd = -1;
static off_t size;
static char *buffer;
static size_t room;

static void attributes(fuse_ino_t ino, struct stat *st)
{
    memset(st, 0, sizeof *st);
    st->st_ino = ino;
    st->st_mode = ino == FUSE_ROOT_ID ? S_IFDIR | 0755 : S_IFREG | 0444;
    st->st_nlink = 1;
    st->st_size = ino == FUSE_ROOT_ID ? 0 : size;
}

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {.ino = INODE, .attr_timeout = FOREVER, .entry_timeout = FOREVER};
    if (parent != FUSE_ROOT_ID || strcmp(name, NAME)) {
        fuse_reply_err(req, ENOENT);
        return;
    }
    attributes(INODE, &entry.attr);
    fuse_reply_entry(req, &entry);
}

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct stat st;
    (void)fi;
    attributes(ino, &st);
    fuse_reply_attr(req, &st, FOREVER);
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    (void)ino;
    fi->keep_cache = 1;
    fuse_reply_open(req, fi);
}

static void note(fuse_req_t req, size_t length, off_t offset)
{
    struct timespec now;
    char line[128];
    clock_gettime(CLOCK_REALTIME, &now);
    int used = snprintf(line, sizeof line, "%lld.%09ld pid %d read %zu bytes at %lld\n", (long long)now.tv_sec,
                        now.tv_nsec, (int)fuse_req_ctx(req)->pid, length, (long long)offset);
    if (write(log_fd, line, (size_t)used) != used)
        perror("log");
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t length, off_t offset, struct fuse_file_info *fi)
{
    (void)ino;
    (void)fi;
    if (length > room) {
        buffer = realloc(buffer, length);
        room = length;
        if (!buffer)
            exit(1);
    }
    ssize_t got = pread(backing, buffer, length, offset);
    if (got < 0)
        fuse_reply_err(req, errno);
    else
        fuse_reply_buf(req, buffer, (size_t)got);
    if (log_fd >= 0)
        note(req, length, offset);
}

static const struct fuse_lowlevel_ops operations = {
    .lookup = do_lookup, .getattr = do_getattr, .open = do_open, .read = do_read};

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: libfuse MNT FILE [LOG]\n");
        return 2;
    }
    backing = open(argv[2], O_RDONLY);
    if (argc == 4)
        log_fd = open(argv[3], O_WRONLY | O_CREAT | O_APPEND, 0600);
    struct stat st;
    if (backing < 0 || fstat(backing, &st) || (argc == 4 && log_fd < 0)) {
        perror("libfuse");
        return 1;
    }
    size = st.st_size;
    char *words[] = {argv[0], NULL};
    struct fuse_args args = FUSE_ARGS_INIT(1, words);
    struct fuse_session *session = fuse_session_new(&args, &operations, sizeof operations, NULL);
    if (!session || fuse_set_signal_handlers(session) || fuse_session_mount(session, argv[1]))
        return 1;
    int result = fuse_session_loop(session);
    fuse_session_unmount(session);
    fuse_session_destroy(session);
    return result < 0;
}
