/* The least that a sandbox like Docker's takes, and how long a command takes; for benches/container.
 *
 *   floor none    ROUNDS ROOT WORK FILTER   everything that a sandbox has to do
 *   floor host    ROUNDS ROOT WORK FILTER   the same in the host's network
 *   floor bare    ROUNDS ROOT WORK          new namespaces, an overlay, a new root, the program
 *   floor command ROUNDS [-c] PROGRAM...    any command; -c: below a pure cgroup2, for crun
 *   floor filter  PID FILTER                writes down the seccomp filter that a process has
 *
 * Prints the microseconds of each round. The program of a sandbox is /bin/true of the folder ROOT, on
 * an overlay whose upper folder is made afresh in WORK. What ends the program if something goes wrong
 * is its line number: this is no sandbox to be used, but a measure of one.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* <sys/mount.h> and <linux/mount.h> do not go together everywhere. */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
enum { RDONLY = 1, NOSUID = 2, NODEV = 4, NOEXEC = 8, REMOUNT = 32, BIND = 4096, REC = 16384,
       PRIVATE = 1 << 18, STRICTATIME = 1 << 24, DETACH = 2 };

#define must(what) do { if ((what) < 0) { \
    fprintf(stderr, "floor.c:%d: %s: %s\n", __LINE__, #what, strerror(errno)); _exit(99); } } while (0)

static struct sock_filter code[4096];
static struct sock_fprog filter = {0, code};
static char *const arguments[] = {"/bin/true", 0}, *const environment[] = {"PATH=/bin", 0};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static void standard_mounts(void) {
    const unsigned long kernels = NOSUID | NODEV | NOEXEC;
    must(mount("proc", "proc", "proc", kernels, 0));
    must(mount("tmpfs", "dev", "tmpfs", NOSUID | STRICTATIME, "mode=755,size=65536k"));
    static const struct { const char *path; int major, minor; } nodes[] = {
        {"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7},
        {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
    for (int i = 0; i < 6; i++) {
        must(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
        must(mount(nodes[i].path, nodes[i].path, 0, BIND, 0));
    }
    must(mount(0, "dev", 0, REMOUNT | BIND | NOSUID | NODEV | STRICTATIME, 0));
    must(symlink("/proc/self/fd", "dev/fd"));
    must(symlink("/proc/self/fd/0", "dev/stdin"));
    must(symlink("/proc/self/fd/1", "dev/stdout"));
    must(symlink("/proc/self/fd/2", "dev/stderr"));
    must(symlink("/proc/kcore", "dev/core"));
    must(symlink("pts/ptmx", "dev/ptmx"));
    must(mkdir("dev/pts", 0755));
    must(mkdir("dev/mqueue", 0755));
    must(mkdir("dev/shm", 0755));
    must(mount("devpts", "dev/pts", "devpts", NOSUID | NOEXEC,
               "newinstance,ptmxmode=0666,mode=0620,gid=5"));
    must(mount("mqueue", "dev/mqueue", "mqueue", kernels, 0));
    must(mount("shm", "dev/shm", "tmpfs", kernels, "mode=1777,size=65536k"));
    must(mount("sysfs", "sys", "sysfs", kernels | RDONLY, 0));
}

/* The files that a container has of its own: a name server, and names of hosts. */
static void own_files(void) {
    static const char *const names[] = {"etc/resolv.conf", "etc/hosts"};
    for (int i = 0; i < 2; i++) {
        int file = open("dev/.new", O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
        must(file);
        must(write(file, "127.0.0.1 localhost\n", 20));
        close(file);
        if (access(names[i], F_OK)) must(mknod(names[i], S_IFREG | 0644, 0));
        must(mount("dev/.new", names[i], 0, BIND, 0));
        must(unlink("dev/.new"));
    }
}

static void hide(void) {
    static const char *const read_only[] = {
        "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
    static const char *const masked[] = {
        "proc/acpi", "proc/asound", "proc/interrupts", "proc/kcore", "proc/keys",
        "proc/latency_stats", "proc/sched_debug", "proc/scsi", "proc/timer_list",
        "proc/timer_stats", "sys/firmware", "sys/devices/virtual/powercap"};
    const unsigned long flags = RDONLY | NOSUID | NODEV | NOEXEC;
    for (int i = 0; i < 5; i++)
        if (!mount(read_only[i], read_only[i], 0, BIND | REC, 0))
            must(mount(0, read_only[i], 0, REMOUNT | BIND | flags, 0));
    const char *empty = 0;
    for (int i = 0; i < 12; i++) {
        struct stat stat;
        if (lstat(masked[i], &stat)) continue;
        if (!S_ISDIR(stat.st_mode)) must(mount("dev/null", masked[i], 0, BIND, 0));
        else if (empty) must(mount(empty, masked[i], 0, BIND, 0));
        else must(mount("tmpfs", empty = masked[i], "tmpfs", flags, "nr_inodes=1,mode=555"));
    }
}

static void give_up_privileges(void) {
    const uint64_t kept = 0xa80425fb;
    must(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter));
    for (int i = 0; i < 64; i++)
        if (!(kept >> i & 1) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0)) break;
    must(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    must(syscall(SYS_setgroups, 0, 0));
    must(syscall(SYS_setresgid, 0, 0, 0));
    must(syscall(SYS_setresuid, 0, 0, 0));
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct sets[2] = {{kept, kept, 0}, {0, 0, 0}};
    must(syscall(SYS_capset, &header, sets));
}

static void loopback(void) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    must(ioctl(fd, SIOCSIFFLAGS, &request));
    close(fd);
}

static void enter(int network, int whole, const char *root, const char *options) {
    must(mount(0, "/", 0, REC | PRIVATE, 0));
    if (whole) syscall(SYS_keyctl, 1, 0);
    if (network) loopback();
    must(mount("overlay", root, "overlay", NODEV, options));
    must(chdir(root));
    must(syscall(SYS_pivot_root, ".", "."));
    must(umount2(".", DETACH));
    must(chdir("/"));
    if (whole) {
        standard_mounts();
        must(sethostname("sandbox", 7));
        must(setsid());
        own_files();
        hide();
        give_up_privileges();
        must(syscall(SYS_close_range, 3, ~0u, CLOSE_RANGE_CLOEXEC));
    }
    execve(arguments[0], arguments, environment);
    must(-1);
}

static void sandbox(int network, int whole, int round, const char *root, const char *work) {
    char upper[512], scratch[600], place[600], options[2048];
    snprintf(upper, sizeof upper, "%s/%d-%d", work, getpid(), round);
    snprintf(scratch, sizeof scratch, "%s.work", upper);
    snprintf(place, sizeof place, "%s.root", upper);
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=%s,workdir=%s,volatile", root, upper, scratch);
    double began = now();
    must(mkdir(upper, 0755));
    must(mkdir(scratch, 0755));
    must(mkdir(place, 0755));
    int pidfd = -1, flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_PIDFD;
    struct clone_args clone = {.flags = flags | (network ? CLONE_NEWNET : 0), .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &clone, sizeof clone);
    must(pid);
    if (!pid) enter(network, whole, place, options);
    siginfo_t end;
    must(waitid(P_PIDFD, pidfd, &end, WEXITED));
    printf("%.1f\n", now() - began);
    close(pidfd);
    if (end.si_status) exit(99);
}

static void command(char **words) {
    posix_spawn_file_actions_t streams;
    posix_spawn_file_actions_init(&streams);
    for (int i = 0; i < 2; i++) posix_spawn_file_actions_addopen(&streams, i, "/dev/null", O_RDWR, 0);
    extern char **environ;
    pid_t pid;
    int status;
    double began = now();
    if (posix_spawnp(&pid, words[0], &streams, 0, words, environ)) exit(98);
    must(waitpid(pid, &status, 0));
    printf("%.1f\n", now() - began);
    if (status) exit(99);
}

/* Has /sys/fs/cgroup be one tree of version 2, also on a machine that mixes both. */
static void pure_cgroups(void) {
    must(unshare(CLONE_NEWNS));
    must(mount(0, "/", 0, REC | PRIVATE, 0));
    must(umount2("/sys/fs/cgroup", DETACH));
    must(mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, 0));
}

static void read_filter(const char *path) {
    int file = open(path, O_RDONLY | O_CLOEXEC);
    must(file);
    ssize_t size = read(file, code, sizeof code);
    must(size);
    filter.len = size / sizeof code[0];
    close(file);
}

static void write_filter(pid_t pid, const char *path) {
    int status, file = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    must(file);
    must(ptrace(PTRACE_ATTACH, pid, 0, 0));
    must(waitpid(pid, &status, 0));
    long length = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, code);
    must(length);
    must(ptrace(PTRACE_DETACH, pid, 0, 0));
    must(write(file, code, length * sizeof code[0]));
}

int main(int count, char **words) {
    if (count < 4) return 2;
    int rounds = atoi(words[2]);
    if (!strcmp(words[1], "filter")) {
        write_filter(atoi(words[2]), words[3]);
    } else if (!strcmp(words[1], "command")) {
        int pure = !strcmp(words[3], "-c");
        if (pure) pure_cgroups();
        for (int i = 0; i < rounds; i++) command(words + 3 + pure);
    } else {
        int whole = strcmp(words[1], "bare"), network = strcmp(words[1], "host");
        if (whole) read_filter(words[5]);
        for (int i = 0; i < rounds; i++) sandbox(network, whole, i, words[3], words[4]);
    }
    return fflush(stdout);
}
