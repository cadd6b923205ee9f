//! What a RUN finds mounted and lent: caches, secrets, agents, devices, and contexts by name.

use crate::home;
use rbuild_testkit::Home;

/// What a shell in an image says.
fn in_image(home: &Home, image: &str, script: &str) -> String {
    home.types(&format!("rbuild run --rm {image} sh -c '{script}'")).ok()
}

/// Asks an agent for its keys, and to forget them all; says how many it has, and whether it did.
const ASK: &str = r#"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static unsigned char reply[65536];

static int ask(int fd, char what) {
    char request[5] = {0, 0, 0, 1, what};
    if (write(fd, request, 5) != 5 || read(fd, reply, 4) != 4) return -1;
    int length = reply[2] << 8 | reply[3], got = 0;
    while (got < length) {
        int n = read(fd, reply + got, length - got);
        if (n <= 0) return -1;
        got += n;
    }
    return reply[0];
}

int main(int argc, char **argv) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strcpy(at.sun_path, argv[1]);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&at, sizeof at)) return perror("connect"), 1;
    int listed = ask(fd, 11);
    printf("%d %d\n", listed, reply[4]);
    printf("%d\n", ask(fd, 19));
    return 0;
}
"#;

/// A context with a program that asks an agent, and a key.
fn agents() -> Home {
    let home = home();
    home.write("ask.c", ASK);
    home.write("app/none", "");
    home.types("cc -static -o app/ask ask.c").ok();
    home.types("ssh-keygen -q -t ed25519 -N '' -f key && chmod 644 key").ok();
    home
}

#[test]
fn an_agent_lists_its_keys_and_keeps_them() {
    let home = agents();
    home.write(
        "app/Dockerfile",
        "FROM busybox\nCOPY ask /bin/\n\
         RUN --mount=type=ssh,mode=741,uid=100,gid=102 \
         stat -c '%u %g %f' $SSH_AUTH_SOCK >/out && ask $SSH_AUTH_SOCK >>/out\n\
         USER 1000\n\
         RUN --mount=type=ssh,id=other,target=sock,uid=1000,required \
         test $SSH_AUTH_SOCK = /sock && ask /sock >/tmp/out\n",
    );
    home.types("rbuild -t app --ssh default=key --ssh other=key,key app").ok();
    // One key, and the refusal to forget it.
    assert_eq!(in_image(&home, "app", "cat /out /tmp/out"), "100 102 c1e1\n12 1\n5\n12 1\n5");
    assert_eq!(in_image(&home, "app", "ls -d /run/buildkit /sock 2>/dev/null; true"), "");
    // Another agent, or none, runs nothing again.
    let again = "eval $(ssh-agent) >/dev/null && rbuild -t app --ssh default --ssh other app; \
                 code=$?; kill $SSH_AGENT_PID; exit $code";
    assert_eq!(home.types(again).stderr.matches("CACHED").count(), 4);
    let fresh = again.replace("--ssh other", "--ssh other=key --no-cache");
    home.types(&fresh).ok();
    assert_eq!(in_image(&home, "app", "cat /out"), "100 102 c1e1\n12 0\n5");
}

#[test]
fn an_agent_may_be_missing_unless_it_is_required() {
    let home = home();
    let file = "FROM busybox\nRUN --mount=type=ssh test ! -e $SSH_AUTH_SOCK && \
        test $SSH_AUTH_SOCK = /run/buildkit/ssh_agent.0\n";
    home.builds("app", file).ok();
    let file = "FROM busybox\nRUN --mount=type=ssh,id=git,required=true true\n";
    let error = home.builds("app", file).fails(1);
    assert!(error.contains("SSH agent git: not found"), "{error}");
    assert!(error.contains("hint: lend it with `--ssh git`"), "{error}");
    home.write("app/Dockerfile", "FROM busybox\n");
    let error = home.types("unset SSH_AUTH_SOCK; rbuild --ssh default app").fails(2);
    assert!(error.contains("SSH_AUTH_SOCK is not set"), "{error}");
    home.types("rbuild --ssh a=nowhere app").fails(3);
    home.types("rbuild --ssh a=app/Dockerfile --ssh a=app/Dockerfile app").fails(2);
    home.write("app/Dockerfile", "FROM busybox\nRUN --mount=type=ssh true\n");
    let error = home.types("rbuild --ssh default=app/Dockerfile app").fails(1);
    assert!(error.contains("cannot use the key `app/Dockerfile`"), "{error}");
}

#[test]
fn a_device_that_nobody_describes_is_told() {
    let home = home();
    home.builds("app", "FROM busybox\nRUN --device=no.example/such true\n").ok();
    let file = "FROM busybox\nRUN --device=no.example/such=1,required true\n";
    let error = home.builds("app", file).fails(1);
    assert!(error.contains("there is no device `no.example/such=1`"), "{error}");
    home.write("app/Dockerfile", "FROM busybox\n");
    home.types("rbuild --allow device=no.example/such --allow network.host app").ok();
    home.types("rbuild --allow devices app").fails(2);
}

#[test]
fn a_secret_is_a_variable_a_file_or_both_and_never_shown() {
    let home = home();
    home.write("secret", "s3cret");
    home.write(
        "app/Dockerfile",
        "FROM busybox\n\
         ENV TOKEN=public\n\
         RUN --mount=type=secret,id=s,env=TOKEN,target=/both,mode=741,uid=100,gid=102 \
         test $TOKEN = \"$(cat /both)\" && stat -c '%u %g %f' /both >/out\n\
         RUN --mount=type=secret,id=s,env=TOKEN test ! -e /run/secrets/s && test $TOKEN = s3cret\n\
         RUN --mount=type=secret,target=/etc/s test \"$(cat /etc/s)\" = s3cret\n\
         RUN test $TOKEN = public && test ! -e /both\n",
    );
    let built = home.types("rbuild -t app --progress plain --secret id=s,src=secret app");
    assert!(built.stderr.contains("test **** = s3cret"), "{}", built.stderr);
    assert_eq!(in_image(&home, "app", "cat /out"), "100 102 81e1");
    let file = "FROM busybox\nRUN --mount=type=secret,id=gone,required true\n";
    let error = home.builds("gone", file).fails(1);
    assert!(error.contains("hint: give it with `--secret id=gone,src=FILE`"), "{error}");
    home.types("head -c 600000 /dev/zero >secret").ok();
    let error = home.types("rbuild --no-cache --secret id=s,src=secret app").fails(1);
    assert!(error.contains("it has more than 500 KiB"), "{error}");
}

#[test]
fn caches_are_told_apart_by_id_seed_and_owner() {
    let home = home();
    let file = "ARG META=/tmp/meta\n\
        FROM busybox AS seed\nRUN mkdir -p /s/in && echo seeded >/s/in/f\n\
        FROM busybox AS one\nARG META\nENV TYPE=cache ID=shared\n\
        RUN --mount=type=cache,target=/mycache touch /mycache/foo\n\
        RUN --mount=type=cache,target=/mycache2 test ! -f /mycache2/foo\n\
        RUN --mount=type=$TYPE,target=/mycache/./ test -f /mycache/foo\n\
        RUN --mount=type=cache,id=$ID,target=$META touch /tmp/meta/foo\n\
        RUN --mount=type=cache,id=shared,target=/any,ro test -f /any/foo && ! touch /any/x\n\
        RUN --mount=type=cache,id=shared,target=/any,uid=1001,gid=1002,mode=0751 \
        test \"$(stat -c '%u %g %f' /any)\" = '1001 1002 41e9' && test ! -e /any/foo\n\
        RUN --mount=type=cache,id=shared,from=seed,source=/s/in,target=/any \
        test \"$(ls /any)\" = f && touch /any/more\n\
        RUN --mount=type=cache,id=shared,from=seed,source=s/in,target=/any test -f /any/more\n\
        FROM one\nWORKDIR /w\n\
        RUN --mount=type=$TYPE,id=$ID,target=rel test -f /w/rel/foo\n";
    home.builds("app", file).ok();
    home.write(
        "apart/Dockerfile",
        "FROM busybox\nRUN --mount=type=cache,id=shared,target=/c ls /c >/o\n",
    );
    home.types("rbuild -t apart --build-arg BUILDKIT_CACHE_MOUNT_NS=ns apart").ok();
    assert_eq!(in_image(&home, "apart", "cat /o"), "");
    home.write(
        "seeded/Dockerfile",
        "FROM busybox AS seed\nARG V\nRUN mkdir /s && echo $V >/s/f\nFROM busybox\n\
         RUN --mount=type=cache,id=seeded,from=seed,source=/s,target=/c cat /c/f >/out\n",
    );
    for value in ["1", "2"] {
        home.types(&format!("rbuild -t seeded --build-arg V={value} seeded")).ok();
        assert_eq!(in_image(&home, "seeded", "cat /out"), value);
    }
    // A step that has a cache for itself waits neither for itself nor for one that waits for it.
    let twice = |sharing: &str| {
        let cache = |id: &str, target: &str| {
            format!("--mount=type=cache,sharing={sharing},id={id},target={target}")
        };
        let mounts = [cache("own", "/a"), cache("own", "/b"), cache("more", "/c")].join(" ");
        format!("FROM busybox\nRUN {mounts} touch /a/f && test -f /b/f && test ! -e /c/f\n")
    };
    home.builds("locked", &twice("locked")).ok();
    home.builds("private", &twice("private")).ok();
    let file = "FROM busybox\nRUN --mount=type=cache,source=/x,target=/c true\n";
    let error = home.builds("app", file).fails(1);
    assert!(error.contains("\"/x\": not found"), "{error}");
}

#[test]
fn a_bind_is_of_what_its_source_says() {
    let home = home();
    home.write("app/a.txt", "foo\n");
    home.write("app/b.txt", "bar\n");
    home.write("app/s*r/x", "star\n");
    home.write("app/star/x", "plain\n");
    home.write(
        "app/Dockerfile",
        "FROM busybox\nWORKDIR /src\n\
         RUN --mount=type=bind cat a.txt >/here\n\
         RUN --mount=source=.,target=/t --mount=source=b.txt,target=/t/b.txt cat /t/a.txt /t/b.txt >/both\n\
         RUN --mount=source=s*r,target=lit cat lit/x >/lit\n\
         RUN --mount=source=b.txt,target=/one,rw=1 echo new >/one && cat /one >/new\n\
         RUN --mount=from=busybox,source=bin/busybox,target=/b,readwrite=false test -x /b\n",
    );
    home.types("rbuild -t app app").ok();
    assert_eq!(in_image(&home, "app", "cat /here /both /lit /new"), "foo\nfoo\nbar\nstar\nnew");
    // One file of a context that changes is seen through another mount of it.
    home.write("app/a.txt", "updated\n");
    home.types("rbuild -t app app").ok();
    assert_eq!(in_image(&home, "app", "cat /both"), "updated\nbar");
    home.write("app/Dockerfile", "FROM busybox\nRUN --mount=source=gone,target=/t true\n");
    let error = home.types("rbuild app").fails(1);
    assert!(error.contains("\"/gone\": not found"), "{error}");
    home.write("app/Dockerfile", "FROM busybox\nRUN --mount=type=tmpfs true\n");
    let error = home.types("rbuild app").fails(1);
    assert!(error.contains("a mount cannot be on `/`"), "{error}");
    let sized = "FROM busybox\nRUN --mount=type=tmpfs,target=/dev/shm,size=128m \
        grep -q '/dev/shm .*size=131072k' /proc/mounts\n";
    home.builds("sized", sized).ok();
}

#[test]
fn the_builder_has_arguments_of_its_own() {
    let home = home();
    home.write(
        "app/Dockerfile",
        "FROM busybox\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nARG BUILDKIT_SBOM_SCAN_CONTEXT=true\n\
         RUN hostname >/name && env >/env\n",
    );
    let arguments = "--build-arg BUILDKIT_SANDBOX_HOSTNAME=sand --build-arg BUILDKIT_BUILD_NAME=x";
    home.types(&format!("rbuild -t app {arguments} app")).ok();
    assert_eq!(in_image(&home, "app", "cat /name; grep BUILDKIT /env; true"), "sand");
    let history = home.types("rbuild history --no-trunc app").ok();
    assert!(history.contains("RUN |2 BUILDKIT_SBOM_SCAN_STAGE=true"), "{history}");
    assert!(!history.contains("BUILD_NAME") && !history.contains("HOSTNAME"), "{history}");
    let other = home.types("rbuild -t app --build-arg BUILDKIT_SANDBOX_HOSTNAME=box app");
    let why = "host name was `sand`, is `box`";
    assert!(other.stderr.contains(why), "{}", other.stderr);
    assert_eq!(in_image(&home, "app", "cat /name"), "box");
}

#[test]
fn a_context_may_be_an_image_in_a_layout() {
    let home = home();
    home.write("base/Dockerfile", "FROM busybox\nENV FROM_LAYOUT=yes\nRUN echo base >/base\n");
    home.types("rbuild -t base:1 -o type=oci,dest=layout,tar=false base").ok();
    home.types("rbuild -t base:1 -o type=oci,dest=layout.tar base").ok();
    home.write(
        "app/Dockerfile",
        "FROM base\nCOPY --from=docker.io/library/tools:latest /base /copied\nRUN echo $FROM_LAYOUT >/env\n",
    );
    let build = |base: &str| {
        let with = format!("--build-context base=oci-layout://{base}");
        home.types(&format!(
            "rbuild -t app {with} --build-context tools=oci-layout://layout.tar app"
        ))
    };
    for base in ["layout", "layout:1", "layout.tar", "layout.tar:1"] {
        build(base).ok();
        assert_eq!(in_image(&home, "app", "cat /copied /env /base"), "base\nyes\nbase", "{base}");
    }
    let digest = home.types("sed 's/.*\"digest\":\"\\([^\"]*\\)\".*/\\1/' layout/index.json").ok();
    build(&format!("layout@{}", digest.trim())).ok();
    let error = build("layout:other").fails(3);
    assert!(error.contains("it has no image `other`"), "{error}");
    // Nothing of a layout is trusted, and none is reached from a Dockerfile alone.
    home.types("cp -r layout bad && rm -r \"$RBUILD_ROOT\"").ok();
    home.types("for f in bad/blobs/sha256/*; do printf x >>$f; done").ok();
    build("bad").fails(3);
    home.write("app/Dockerfile", "FROM oci-layout://layout\n");
    home.types("rbuild app").fails(1);
}

#[test]
fn a_context_stands_for_a_stage_and_for_an_image() {
    let home = home();
    home.write("other/out", "dummy\n");
    home.write("other/out2", "ignored\n");
    home.write("other/.dockerignore", "out2\n");
    home.write(
        "app/Dockerfile",
        "FROM no.example/broken AS notused\nFROM busybox AS base\nRUN exit 7\n\
         FROM other.example/image AS otherstage\nFROM busybox\n\
         COPY --from=base /o* /copied/\n\
         RUN --mount=from=base,source=out,target=/in/out cp /in/out /run\n\
         RUN --mount=from=base,target=/in ls /in >/list\n",
    );
    let unused = "--build-context notused=docker-image://no.example/none \
         --build-context other.example/image=oci-layout://nowhere";
    home.types(&format!("rbuild -t app --build-context base=other {unused} app")).ok();
    let script = "ls /copied; cat /run /list";
    assert_eq!(in_image(&home, "app", script), "out\ndummy\nout");
    home.write("app/Dockerfile", "FROM no.example/base:1\nCOPY Dockerfile /f\n");
    let scratch = "--build-context no.example/base:1=docker-image://scratch";
    home.types(&format!("rbuild -o out {scratch} app")).ok();
    assert_eq!(home.types("ls out").ok(), "f");
    let digest = "docker-image://busybox@$(rbuild inspect --format '{{index .RepoDigests 0}}' \
         busybox | cut -d@ -f2)";
    home.write("app/Dockerfile", "FROM base\nRUN test -x /bin/busybox\n");
    home.types(&format!("rbuild pull -q busybox && rbuild --build-context base={digest} app")).ok();
}
