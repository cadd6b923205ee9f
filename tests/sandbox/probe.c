/* What a process finds around itself, as JSON: namespaces, mounts, limits, privileges, devices, and
 * the answer of every system call.
 *
 * No system call that is asked about is ever made. The probe puts itself under a second filter,
 * which has every call with magic arguments answered by a thread of the probe, unless the filter of
 * the sandbox refuses the call before. So the answer is the sandbox's alone.
 *
 * Arguments: a file for the answer, or `-`; the values of the first argument that calls are tried
 * with. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAGIC = 0x70726f62, ALLOWED = 4000, CALLS = 1025 };

extern char **environ;

/* JSON. */

static void text(const char *from, size_t size) {
  putchar('"');
  for (size_t at = 0; at < size; at++) {
    unsigned char byte = from[at];
    if (byte == '"' || byte == '\\')
      printf("\\%c", byte);
    else if (byte < 0x20 || byte > 0x7e)
      printf("\\u%04x", byte);
    else
      putchar(byte);
  }
  putchar('"');
}

static void name(const char *of) {
  text(of, strlen(of));
  printf(": ");
}

static void file(const char *path) {
  static char content[1 << 18];
  size_t size = 0;
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) {
    printf("%d", errno);
    return;
  }
  ssize_t more;
  while ((more = read(fd, content + size, sizeof content - size)) > 0)
    size += more;
  close(fd);
  text(content, size);
}

static void link_of(const char *path) {
  char goal[4096];
  ssize_t size = readlink(path, goal, sizeof goal);
  text(goal, size < 0 ? 0 : size);
}

/* What opening a path ends with; 0 where it can be opened. */
static int opening(const char *path, int flags) {
  int fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (fd < 0)
    return errno;
  close(fd);
  return 0;
}

static void node(const char *path) {
  struct stat stat;
  if (lstat(path, &stat)) {
    printf("%d", errno);
    return;
  }
  printf("{\"mode\": \"%o\", \"owner\": \"%u:%u\", \"number\": \"%u:%u\", \"link\": ", stat.st_mode,
         stat.st_uid, stat.st_gid, major(stat.st_rdev), minor(stat.st_rdev));
  link_of(path);
  printf(", \"read\": %d, \"write\": %d}", opening(path, O_RDONLY), opening(path, O_WRONLY));
}

static void nodes_below(const char *folder, int depth, int *first) {
  DIR *open = opendir(folder);
  if (!open)
    return;
  for (struct dirent *entry; (entry = readdir(open));) {
    char path[4096];
    struct stat stat;
    if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
      continue;
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    printf(*first ? "\n" : ",\n");
    *first = 0;
    name(path);
    node(path);
    if (depth && !lstat(path, &stat) && S_ISDIR(stat.st_mode))
      nodes_below(path, depth - 1, first);
  }
  closedir(open);
}

/* Parts of the answer. */

static void list(const char *title, const char *const *paths, void (*show)(const char *)) {
  printf(",\n");
  name(title);
  printf("{");
  for (int at = 0; paths[at]; at++) {
    printf(at ? ",\n" : "\n");
    name(paths[at]);
    show(paths[at]);
  }
  printf("}");
}

/* A device that the process makes itself, and whether it can be used. */
static void made(const char *what) {
  char kind;
  unsigned one, two;
  const char *path = "/tmp/probe-node";
  sscanf(what, "%c %u:%u", &kind, &one, &two);
  int failed = mknod(path, (kind == 'b' ? S_IFBLK : S_IFCHR) | 0600, makedev(one, two)) ? errno : 0;
  printf("[%d, %d]", failed, failed ? 0 : opening(path, O_RDONLY));
  unlink(path);
}

/* A place that may be hidden: what is there, on which file system, and what it holds. */
static void place(const char *path) {
  struct stat stat;
  struct statfs system;
  char bytes[64];
  if (lstat(path, &stat)) {
    printf("%d", errno);
    return;
  }
  statfs(path, &system);
  printf("{\"mode\": \"%o\", \"system\": \"%lx\", ", stat.st_mode & S_IFMT, (long)system.f_type);
  if (S_ISDIR(stat.st_mode)) {
    int count = -2;
    DIR *open = opendir(path);
    while (open && readdir(open))
      count++;
    if (open)
      closedir(open);
    char inside[4096];
    snprintf(inside, sizeof inside, "%s/probe", path);
    int failed = mkdir(inside, 0700) ? errno : rmdir(inside);
    printf("\"holds\": %d, \"write\": %d}", count, failed);
  } else {
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    printf("\"holds\": %zd, \"write\": %d}", fd < 0 ? -errno : read(fd, bytes, sizeof bytes),
           opening(path, O_WRONLY));
    close(fd);
  }
}

static void own_numbers(void) {
  uid_t uid[3];
  gid_t gid[3], groups[64];
  getresuid(&uid[0], &uid[1], &uid[2]);
  getresgid(&gid[0], &gid[1], &gid[2]);
  int count = getgroups(64, groups);
  printf(",\n\"ids\": [%u, %u, %u, %u, %u, %u]", uid[0], uid[1], uid[2], gid[0], gid[1], gid[2]);
  printf(",\n\"groups\": [");
  for (int at = 0; at < count; at++)
    printf(at ? ", %u" : "%u", groups[at]);
  printf("]");
  printf(",\n\"process\": [%d, %d, %d, %d]", getpid(), getppid(), getpgrp(), getsid(0));
  mode_t mask = umask(0);
  umask(mask);
  printf(",\n\"umask\": \"%o\"", mask);
  long keyring = syscall(SYS_keyctl, 0 /* KEYCTL_GET_KEYRING_ID */, -3 /* of the session */, 0);
  printf(",\n\"keyring\": %ld", keyring < 0 ? -(long)errno : keyring);
}

static void surroundings(void) {
  struct utsname names;
  char here[4096] = "";
  uname(&names);
  printf(",\n\"hostname\": ");
  text(names.nodename, strlen(names.nodename));
  printf(",\n\"cwd\": ");
  text(here, getcwd(here, sizeof here) ? strlen(here) : 0);
  printf(",\n\"env\": [");
  for (char **variable = environ; *variable; variable++) {
    printf(variable == environ ? "" : ", ");
    text(*variable, strlen(*variable));
  }
  printf("],\n\"descriptors\": {");
  DIR *open = opendir("/proc/self/fd");
  int first = 1;
  for (struct dirent *entry; open && (entry = readdir(open));) {
    if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(open))
      continue;
    char path[300];
    snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
    printf(first ? "" : ", ");
    first = 0;
    name(entry->d_name);
    link_of(path);
  }
  closedir(open);
  printf("},\n\"terminal\": %d", isatty(0));
}

/* System calls. */

static long native(uint32_t number, uint32_t argument) {
  long answer = syscall(number, (long)argument, MAGIC, MAGIC, MAGIC, 0, 0);
  answer = answer == -1 ? -errno : answer;
  /* A call with few arguments would find the magic where the last one has left it. */
  syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
  return answer;
}

#ifdef __x86_64__
static long x32(uint32_t number, uint32_t argument) { return native(number | 0x40000000, argument); }

static long i386(uint32_t number, uint32_t argument) {
  long answer;
  __asm__ volatile("int $0x80"
                   : "=a"(answer)
                   : "a"(number), "b"(argument), "c"(MAGIC), "d"(MAGIC), "S"(MAGIC), "D"(0)
                   : "r8", "r9", "r10", "r11", "memory");
  syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
  return (int32_t)answer;
}
#endif

static _Atomic int listener = -1;

static void *answer_calls(void *unused) {
  int fd;
  while ((fd = atomic_load(&listener)) < 0)
    sched_yield();
  for (;;) {
    struct seccomp_notif asked = {0};
    struct seccomp_notif_resp answer = {0};
    if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &asked))
      continue;
    answer.id = asked.id;
    answer.error = -ALLOWED;
    ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
  return unused;
}

/* From here on calls with magic arguments are answered and not made. */
static void answer_instead(void) {
#define LOAD(argument) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, argument))
  struct sock_filter code[] = {
      LOAD(args[1]), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MAGIC, 0, 5),
      LOAD(args[2]), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MAGIC, 0, 3),
      LOAD(args[3]), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MAGIC, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
  pthread_t thread;
  if (pthread_create(&thread, NULL, answer_calls, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    exit(90);
  int fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
  if (fd < 0)
    exit(91);
  atomic_store(&listener, fd);
  if (native(SYS_getpid, 0) != -ALLOWED)
    exit(92);
}

/* The kernel makes uretprobe and uprobe whatever a filter says; they are not tried. */
static int is_never_filtered(const char *abi, int number) {
#ifdef __x86_64__
  return !strcmp(abi, "native") && (number == 335 || number == 336);
#else
  return 0;
#endif
}

static void ask_all(const char *abi, long (*ask)(uint32_t, uint32_t), int count, char **arguments) {
  printf(",\n");
  name(abi);
  printf("{");
  fflush(stdout);
  int child = fork(), status;
  if (!child) {
    answer_instead();
    for (int at = 0; at < count; at++) {
      uint32_t argument = strtoul(arguments[at], NULL, 0);
      printf(at ? "],\n" : "\n");
      name(arguments[at]);
      printf("[");
      for (int number = 0; number < CALLS; number++) {
        long answer = is_never_filtered(abi, number) ? -ALLOWED : ask(number, argument);
        printf(number ? ",%ld" : "%ld", answer == -ALLOWED ? 0 : -answer);
      }
    }
    printf("]");
    exit(0);
  }
  waitpid(child, &status, 0);
  printf(", \"end\": %d}", status);
}

int main(int count, char **arguments) {
  static const char *const namespaces[] = {
      "/proc/self/ns/cgroup", "/proc/self/ns/ipc", "/proc/self/ns/mnt", "/proc/self/ns/net",
      "/proc/self/ns/pid", "/proc/self/ns/time", "/proc/self/ns/user", "/proc/self/ns/uts", NULL};
  static const char *const files[] = {
      "/proc/self/mountinfo", "/proc/self/status", "/proc/self/limits", "/proc/self/cgroup",
      "/proc/self/oom_score_adj", "/proc/self/personality", "/proc/self/uid_map", "/etc/hosts",
      "/etc/resolv.conf", "/etc/hostname", "/proc/sys/net/ipv4/ip_unprivileged_port_start",
      "/proc/sys/net/ipv4/ping_group_range", "/proc/sys/kernel/domainname", NULL};
  static const char *const devices[] = {"c 1:3", "c 1:5", "c 5:1", "c 10:200", "c 10:229",
                                        "c 1:1", "c 1:11", "b 8:0", "b 254:0", "b 7:0", NULL};
  static const char *const places[] = {
      "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
      "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
      "/proc/timer_stats", "/sys/firmware", "/sys/devices/virtual/powercap",
      "/sys/devices/system/cpu/cpu0/thermal_throttle", "/proc/bus", "/proc/fs", "/proc/irq",
      "/proc/sys", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern",
      "/proc/sys/kernel/panic", "/proc/irq/default_smp_affinity", "/sys/kernel", "/sys/fs/cgroup",
      "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/self/oom_score_adj", NULL};
  int first = 1;
  if (count < 2 || (strcmp(arguments[1], "-") && !freopen(arguments[1], "w", stdout)))
    return 89;
  printf("{\"version\": 1");
  list("namespaces", namespaces, link_of);
  list("files", files, file);
  own_numbers();
  surroundings();
  list("places", places, place);
  list("made", devices, made);
  printf(",\n\"devices\": {");
  nodes_below("/dev", 2, &first);
  printf("},\n\"calls\": {\"none\": {}");
  ask_all("native", native, count - 2, arguments + 2);
#ifdef __x86_64__
  ask_all("x32", x32, count - 2, arguments + 2);
  ask_all("i386", i386, count - 2, arguments + 2);
#endif
  printf("}}\n");
  return 0;
}
