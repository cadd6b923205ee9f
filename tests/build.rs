//! What an instruction does to the image.

use crate::home;
use rbuild_testkit::Home;

/// What a shell in an image says.
fn in_image(home: &Home, image: &str, script: &str) -> String {
    home.types(&format!("rbuild run --rm {image} sh -c '{script}'")).ok()
}

fn field(home: &Home, image: &str, template: &str) -> String {
    home.types(&format!("rbuild inspect --format '{{{{{template}}}}}' {image}")).ok()
}

#[test]
fn copy_brings_files_with_their_modes_and_links() {
    let home = home();
    home.write("app/src/deep/file", "deep\n");
    home.write("app/src/tool", "#!/bin/sh\n");
    home.write("app/one.txt", "1");
    home.write("app/two.txt", "2");
    home.types("chmod 755 app/src/tool && ln -s deep/file app/src/link").ok();
    let file =
        "FROM busybox\nWORKDIR /work\nCOPY src .\nCOPY *.txt texts/\nCOPY one.txt /renamed\n";
    home.builds("app", file).ok();
    let script = "cat deep/file link texts/one.txt texts/two.txt /renamed; \
                  stat -c \"%A %u:%g %n\" tool link deep";
    assert_eq!(
        in_image(&home, "app", script),
        "deep\ndeep\n121-rwxr-xr-x 0:0 tool\nlrwxrwxrwx 0:0 link\ndrwxr-xr-x 0:0 deep"
    );
}

#[test]
fn copy_sets_owner_and_mode() {
    let home = home();
    home.write("app/file", "x");
    let file = "FROM busybox\n\
        COPY --chown=app:app file /named\n\
        COPY --chown=12:34 file /numbered\n\
        COPY --chown=app file /user\n\
        COPY --chmod=640 file /mode\n\
        COPY --chmod=u=rwx,go=r file /symbolic\n";
    home.builds("app", file).ok();
    let script = "stat -c \"%a %u:%g %n\" /named /numbered /user /mode /symbolic";
    assert_eq!(
        in_image(&home, "app", script),
        "644 1000:1001 /named\n644 12:34 /numbered\n644 1000:1001 /user\n\
         640 0:0 /mode\n744 0:0 /symbolic"
    );
    let error = home.builds("bad", "FROM busybox\nCOPY --chown=nobody-here Dockerfile /x\n");
    assert!(error.fails(1).contains("invalid user"));
}

#[test]
fn stages_give_files_to_each_other() {
    let home = home();
    let file = "FROM busybox AS base\nRUN echo base >/base\n\
        FROM base AS left\nRUN echo left >/left\n\
        FROM base AS unused\nRUN exit 7\n\
        FROM scratch AS files\nCOPY --from=left /left /base /\n\
        FROM busybox\nCOPY --from=files / /from-name\nCOPY --from=1 /left /from-number\n\
        COPY --from=busybox /etc/passwd /from-image\n";
    home.builds("app", file).ok();
    assert_eq!(
        in_image(&home, "app", "cat /from-name/left /from-name/base /from-number; ls /base; true"),
        "left\nbase\nleft"
    );
    assert!(in_image(&home, "app", "cat /from-image").starts_with("root:x:0:0"));
}

#[test]
fn a_target_ends_the_build_there() {
    let home = home();
    home.write(
        "app/Dockerfile",
        "FROM busybox AS one\nRUN echo one >/stage\nFROM one AS two\nRUN echo two >/stage\n",
    );
    home.types("rbuild -t app --target one app").ok();
    assert_eq!(in_image(&home, "app", "cat /stage"), "one");
    home.types("rbuild -t app app").ok();
    assert_eq!(in_image(&home, "app", "cat /stage"), "two");
    let error = home.types("rbuild -t app --target three app").fails(1);
    assert!(error.contains("three"), "{error}");
}

#[test]
fn arguments_and_variables_are_expanded() {
    let home = home();
    home.write(
        "app/Dockerfile",
        "ARG TAG=latest\nFROM busybox:$TAG\nARG NAME\nARG GREETING=hello\n\
         ENV SAID=\"$GREETING ${NAME:-nobody}\" EMPTY=\nENV TWICE=$SAID$SAID\n\
         RUN echo \"$SAID/$NAME/${UNSET-unset}\" >/said\nLABEL said=$SAID\nWORKDIR /a/${GREETING}\n",
    );
    home.types("rbuild -t app --build-arg NAME=world app").ok();
    assert_eq!(
        in_image(&home, "app", "cat /said; echo \"$SAID,$TWICE,$NAME\"; pwd"),
        "hello world/world/unset\nhello world,hello worldhello world,\n/a/hello"
    );
    assert_eq!(field(&home, "app", ".Config.Labels.said"), "hello world");
}

#[test]
fn heredocs_are_scripts_and_files() {
    let home = home();
    let file = "# syntax=docker/dockerfile:1\nFROM busybox\nARG WHO=you\n\
        RUN <<END\nset -e\necho first >/first\necho \"$WHO\" >/who\nEND\n\
        COPY <<END <<\"RAW\" /files/\nhello $WHO\nEND\nhello $WHO\nRAW\n\
        RUN <<-TABS cat >/tabs\n\tno tab\n\tTABS\n";
    home.builds("app", file).ok();
    assert_eq!(
        in_image(&home, "app", "cat /first /who /files/END /files/RAW /tabs"),
        "first\nyou\nhello you\nhello $WHO\nno tab"
    );
}

#[test]
fn the_config_is_as_the_instructions_say() {
    let home = home();
    let file = "FROM busybox\nEXPOSE 80 53/udp\nVOLUME /data\nUSER app\nSTOPSIGNAL SIGINT\n\
        ENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"id -un; pwd\"]\nLABEL a=b c=\"d e\"\n\
        HEALTHCHECK --interval=5s CMD true\n";
    home.builds("app", file).ok();
    assert_eq!(home.types("rbuild run --rm app").ok(), "app\n/");
    let inspected = home.types("rbuild inspect app").ok();
    let inspected = rbuild_testkit::archive::parse(inspected.as_bytes());
    let config = &inspected[0]["Config"];
    assert_eq!(config["User"], "app");
    assert_eq!(config["StopSignal"], "SIGINT");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/bin/sh", "-c"]));
    assert_eq!(config["Cmd"], serde_json::json!(["id -un; pwd"]));
    assert_eq!(config["Labels"], serde_json::json!({ "a": "b", "c": "d e" }));
    assert_eq!(config["ExposedPorts"], serde_json::json!({ "53/udp": {}, "80/tcp": {} }));
    assert_eq!(config["Volumes"], serde_json::json!({ "/data": {} }));
}

#[test]
fn run_has_a_shell_a_user_and_a_folder() {
    let home = home();
    let file = "FROM busybox\nWORKDIR /work\nUSER app\nRUN id -u >/tmp/id && id -G >>/tmp/id\n\
        USER root\nSHELL [\"/bin/sh\", \"-e\", \"-c\"]\nRUN echo $0 $- >shell\n\
        RUN [\"sh\", \"-c\", \"echo exec >exec\"]\n";
    home.builds("app", file).ok();
    let said = in_image(&home, "app", "cat /tmp/id exec shell");
    assert!(said.starts_with("1000\n1001 1002\nexec\n"), "{said}");
    assert!(said.lines().last().unwrap().contains('e'), "the shell has -e: {said}");
}

#[test]
fn what_is_removed_is_gone_in_the_image() {
    let home = home();
    let file = "FROM busybox\nRUN mkdir /d && echo 1 >/d/one && echo 2 >/d/two\n\
        RUN rm /d/one\nRUN rm -r /d && mkdir /d && echo 3 >/d/three\nRUN rm /etc/group\n";
    home.builds("app", file).ok();
    assert_eq!(
        in_image(&home, "app", "ls /d; ls /etc | grep -v host"),
        "three\npasswd\nresolv.conf"
    );
}

#[test]
fn a_cache_mount_lives_on_and_is_in_no_image() {
    let home = home();
    let cache = "RUN --mount=type=cache,id=c,target=/cache";
    let file = format!("FROM busybox\nARG N\n{cache} echo $N >>/cache/runs\n");
    home.write("app/Dockerfile", file);
    home.types("rbuild -t app app && rbuild -t app --build-arg N=2 app").ok();
    assert_eq!(in_image(&home, "app", "ls -d /cache 2>/dev/null; true"), "");
    home.builds("count", &format!("FROM busybox\n{cache} wc -l </cache/runs >/runs\n")).ok();
    assert_eq!(in_image(&home, "count", "cat /runs"), "2");
}

#[test]
fn no_cache_empties_the_cache_mounts_of_its_steps() {
    let home = home();
    let step = |more: &str| {
        let mount = format!("RUN --mount=type=cache,target=/c{more}");
        format!("{mount} echo $N >>/c/runs\n{mount} cat /c/runs >>/out\n")
    };
    let own = step(",id=own,mode=0773");
    let file = format!("FROM busybox AS one\nARG N\n{own}FROM one\nARG N\n{}", step(""));
    home.write("app/Dockerfile", file);
    let seen = |number: u32, more: &str| {
        home.types(&format!("rbuild -t app --build-arg N={number} {more} app")).ok();
        in_image(&home, "app", "cat /out").replace('\n', " ")
    };
    assert_eq!(seen(1, ""), "1 1");
    assert_eq!(seen(2, ""), "1 2 1 2");
    assert_eq!(seen(3, "--no-cache-filter one"), "3 1 2 3");
    assert_eq!(seen(4, ""), "3 4 1 2 3 4");
    assert_eq!(seen(5, "--no-cache"), "5 5");
}

#[test]
fn bind_and_tmpfs_mounts_leave_nothing() {
    let home = home();
    home.write("app/in/file", "bound\n");
    let file = "FROM busybox AS other\nRUN echo staged >/staged\nFROM busybox\n\
        RUN --mount=type=bind,source=in,target=/in cat /in/file >/out && ! touch /in/new\n\
        RUN --mount=type=bind,source=in,target=/in,rw touch /in/new && ls /in >>/out\n\
        RUN --mount=type=bind,source=in,target=/in ls /in >>/out\n\
        RUN --mount=type=bind,from=other,source=/staged,target=/s cat /s >>/out\n\
        RUN --mount=type=tmpfs,target=/t touch /t/x && grep -q ' /t tmpfs ' /proc/mounts\n";
    home.builds("app", file).ok();
    assert_eq!(in_image(&home, "app", "cat /out"), "bound\nfile\nnew\nfile\nstaged");
    // Nor do the places where they were mounted.
    assert_eq!(in_image(&home, "app", "ls -d /in /s /t 2>/dev/null; true"), "");
    assert!(!home.path("app/in/new").exists(), "the context is never written to");
}

#[test]
fn a_secret_is_in_no_image_and_nowhere_in_the_store() {
    let home = home();
    let value = "hunter2-7f3a9c";
    home.write("token", value);
    home.write(
        "app/Dockerfile",
        "FROM busybox\n\
         RUN --mount=type=secret,id=token wc -c </run/secrets/token >/size\n\
         RUN --mount=type=secret,id=token,target=/etc/token,mode=0400 stat -c %a /etc/token >/mode\n\
         RUN --mount=type=secret,id=var,env=VALUE test -n \"$VALUE\"\n",
    );
    home.types(&format!(
        "VAR={value} rbuild -t app --secret id=token,src=token --secret id=var,env=VAR app"
    ))
    .ok();
    assert_eq!(
        in_image(&home, "app", "cat /size /mode; ls /run/secrets /etc/token; true"),
        format!("{}\n400", value.len())
    );
    let history = home.types("rbuild history --no-trunc app && rbuild inspect app").ok();
    assert!(!history.contains(value));
    let found = home.types(&format!("grep -r -l -a -e {value} {}", home.store().display()));
    assert_eq!((found.code, found.stdout.as_str()), (1, ""), "{found}");
}

#[test]
fn a_secret_may_be_missing_where_it_is_not_required() {
    let home = home();
    let file = "FROM busybox\nRUN --mount=type=secret,id=token test ! -e /run/secrets/token\n";
    home.builds("app", file).ok();
}

#[test]
fn a_required_secret_must_be_there() {
    let home = home();
    let file =
        "FROM busybox\nRUN --mount=type=secret,id=token,required=true cat /run/secrets/token\n";
    let error = home.builds("app", file).fails(1);
    assert!(error.contains("secret token: not found"), "{error}");
}

#[test]
fn a_build_context_by_name_is_a_folder_or_an_image() {
    let home = home();
    home.write("other/file", "from folder\n");
    home.write(
        "app/Dockerfile",
        "FROM base\nCOPY --from=files /file /file\nRUN cat /etc/passwd >/passwd\n",
    );
    home.types(
        "rbuild -t app --build-context files=other \
         --build-context base=docker-image://busybox app",
    )
    .ok();
    assert_eq!(in_image(&home, "app", "cat /file"), "from folder");
}

#[test]
fn the_dockerfile_may_come_from_elsewhere() {
    let home = home();
    home.write("app/file", "x");
    home.write("Elsewhere", "FROM busybox\nCOPY file /file\n");
    home.types("rbuild -t app -f Elsewhere app").ok();
    home.types("rbuild -t app -f - app <Elsewhere").ok();
    home.types("printf 'FROM busybox\\nRUN echo piped >/piped\\n' | rbuild -t piped -").ok();
    home.types("cp Elsewhere app/Dockerfile && tar -C app -cz . | rbuild -t tarred -").ok();
    assert_eq!(in_image(&home, "piped", "cat /piped"), "piped");
    assert_eq!(in_image(&home, "tarred", "cat /file"), "x");
}

#[test]
fn ignore_files_have_an_order() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nCOPY . /src\n");
    let built = |home: &rbuild_testkit::Home| {
        home.types("rbuild -t app app").ok();
        in_image(home, "app", "ls /src")
    };
    home.write("app/a", "");
    home.write("app/b", "");
    home.write("app/.containerignore", "a\nDockerfile\n");
    assert_eq!(built(&home), "b");
    home.write("app/.dockerignore", "b\nDockerfile\n");
    assert_eq!(built(&home), "a");
    home.write("app/Dockerfile.dockerignore", "a\nb\nDockerfile*\n");
    assert_eq!(built(&home), "");
}

#[test]
fn a_hundred_layers_are_no_wall() {
    let home = home();
    let steps: Vec<_> = (0..100).map(|n| format!("RUN echo {n} >/file-{n}\n")).collect();
    home.builds("app", &format!("FROM busybox\n{}", steps.concat())).ok();
    assert_eq!(in_image(&home, "app", "ls / | grep -c file-"), "100");
}

#[test]
fn quiet_says_the_id_alone() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN echo hi\n");
    let built = home.types("rbuild -q -t app app");
    assert_eq!(built.stderr, "");
    let id = built.ok();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    assert_eq!(field(&home, "app", ".Id"), id);
    home.types("rbuild -q -t app --iidfile id app").ok();
    assert_eq!(home.read("id").trim(), id);
}
