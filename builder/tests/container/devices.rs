//! RUN with devices that a description names.

use std::fs;
use std::path::Path;

use rbuild::cdi::Grants;
use rbuild::{Build, Built, Result, Store};

pub(crate) const TESTS: &[crate::Test] = &[
    ("devices::a_step_sees_what_a_device_is", a_step_sees_what_a_device_is),
    ("devices::leave_is_needed", leave_is_needed),
    ("devices::a_hook_is_refused", a_hook_is_refused),
];

const SPEC: &str = "
cdiVersion: 0.6.0
kind: test.example/sink
devices:
- name: one
  containerEdits:
    env: [SINK=/dev/test/sink]
    deviceNodes:
    - {path: /dev/test/sink, hostPath: /dev/null, fileMode: 0640, gid: 7}
    - {path: /dev/test/zero, type: c, major: 1, minor: 5, permissions: rw}
    mounts:
    - {hostPath: SHARE, containerPath: /opt/share, options: [ro]}
";
const STEP: &str = r"test -c $SINK && echo gone >$SINK && stat -c %a:%u:%g $SINK \
    && test $(head -c 4 /dev/test/zero | wc -c) = 4 && cat /opt/share/driver && ! touch /opt/share/x";

/// Builds one step in a root that has busybox alone.
fn build(home: &Path, step: &str, grants: Grants) -> Result<Built> {
    let context = home.join("context");
    fs::create_dir_all(&context).unwrap();
    fs::copy("/bin/busybox", context.join("busybox")).unwrap();
    let install = "RUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]";
    let file = format!("FROM scratch\nCOPY busybox /bin/busybox\n{install}\n{step}\n");
    fs::write(context.join("Dockerfile"), file).unwrap();
    let build = Build::new(context)
        .allow_devices(grants)
        .device_folders(vec![home.join("cdi"), home.join("missing")]);
    let store = Store::temporary().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(build.run(&store))
}

/// A folder with one description of devices.
fn described(spec: &str) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let share = home.path().join("share");
    for folder in [&share, &home.path().join("cdi")] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(share.join("driver"), "driver\n").unwrap();
    let spec = spec.replace("SHARE", &share.display().to_string());
    fs::write(home.path().join("cdi/test.yaml"), spec).unwrap();
    home
}

fn all() -> Grants {
    let mut grants = Grants::default();
    grants.all();
    grants
}

fn a_step_sees_what_a_device_is() {
    let home = described(SPEC);
    let check = format!("{STEP} && test \"$(stat -c %a:%g $SINK)\" = 640:7");
    build(home.path(), &format!("RUN --device=test.example/sink {check}"), all()).unwrap();
    // A user of the image owns a node whose owner is not said.
    let step = "USER 5\nRUN --device=test.example/sink=one,required \
        test \"$(stat -c %u:%g /dev/test/zero)\" = 5:0";
    build(home.path(), step, all()).unwrap();
    let absent = "RUN --device=test.example/other test ! -e /dev/test";
    build(home.path(), absent, Grants::default()).unwrap();
}

fn leave_is_needed() {
    let home = described(SPEC);
    let step = "RUN --device=test.example/sink test -c /dev/test/sink";
    let error = build(home.path(), step, Grants::default()).unwrap_err();
    assert!(error.to_string().contains("test.example/sink=one is requested"), "{error}");
    assert!(error.hint().unwrap().contains("--allow device=test.example/sink=one"));
    let mut grants = Grants::default();
    grants.device("test.example/sink=one");
    build(home.path(), step, grants).unwrap();
    let open = format!("{SPEC}annotations: {{org.mobyproject.buildkit.device.autoallow: true}}\n");
    build(described(&open).path(), step, Grants::default()).unwrap();
}

fn a_hook_is_refused() {
    let hooks = "cdiVersion: 0.6.0\nkind: test.example/sink\ndevices: [{name: one}]\n\
        containerEdits: {hooks: [{hookName: createContainer, path: /bin/false}]}\n";
    let step = "RUN --device=test.example/sink true";
    let error = build(described(hooks).path(), step, all()).unwrap_err();
    let reason = "needs the createContainer hook `/bin/false` of the host";
    assert!(error.to_string().contains(reason), "{error}");
}
