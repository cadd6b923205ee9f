//! Devices by their descriptions, and GPUs, on a machine that has none: fake descriptions, fake
//! nodes and a fake Jetson.

use std::fs;
use std::path::PathBuf;

use crate::home;
use rbuild_testkit::Home;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

/// The number of NVIDIA's devices, which no driver of this machine has.
const MAJOR: u32 = 195;

fn with_image() -> Home {
    let home = home();
    home.builds("app", "FROM busybox\n").ok();
    home
}

/// A character device of NVIDIA's below a folder of this home.
fn node(home: &Home, path: &str, minor: u32) {
    let path = home.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, &path, FileType::CharacterDevice, mode, makedev(MAJOR, minor)).unwrap();
}

/// Opens a device: no such device is what a node says that works and has no driver; what is fenced
/// off is not permitted.
fn opens(path: &str) -> String {
    format!("cat {path} 2>&1 | sed 's/.*: //'")
}

#[test]
fn a_device_is_what_its_description_says() {
    let home = with_image();
    node(&home, "fake/nvidia0", 0);
    home.write("host/lib.so", "library\n");
    let place = home.path("");
    let description = format!(
        r#"{{"cdiVersion": "0.6.0", "kind": "vendor.example/gpu",
        "containerEdits": {{"env": ["COMMON=1"]}},
        "devices": [{{"name": "one", "containerEdits": {{
            "env": ["DEVICE=one"],
            "deviceNodes": [{{"path": "/dev/nvidia0", "hostPath": "{place}fake/nvidia0"}}],
            "mounts": [{{"hostPath": "{place}host/lib.so", "containerPath": "/opt/lib.so",
                "options": ["ro", "nosuid", "nodev", "bind"]}}],
            "hooks": [
                {{"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args":
                    ["nvidia-cdi-hook", "create-symlinks", "--link", "lib.so::/opt/lib.so.1"]}},
                {{"hookName": "createContainer", "path": "/bin/sh", "args":
                    ["sh", "-c", "cat >{place}heard; echo $A $LD_PRELOAD >{place}env"],
                    "env": ["A=b"]}}
            ]}}}}]}}"#,
        place = place.display()
    );
    home.write("cdi/vendor.json", description);
    let run = "rbuild run --rm --network none --cdi-spec-dir $HOME/cdi -e LD_PRELOAD=/evil.so";
    let script = format!("echo $COMMON $DEVICE; cat /opt/lib.so.1; {}", opens("/dev/nvidia0"));
    let ran = home.types(&format!(
        "{run} --device vendor.example/gpu=one app sh -c \"{}\"",
        script.replace('$', "\\$")
    ));
    assert_eq!(ran.ok(), "1 one\nlibrary\nNo such device or address");
    assert!(home.read("heard").contains("\"status\":\"creating\""), "{}", home.read("heard"));
    assert_eq!(home.read("env"), "b\n", "a hook has its own variables only");
    let missing = home.types(&format!("{run} --device vendor.example/gpu=two app true"));
    assert!(missing.stderr.contains("there is no device `vendor.example/gpu=two`"), "{missing}");
    missing.fails(125);
    let without = home.types(&format!("{run} app ls /dev/nvidia0"));
    assert_eq!(without.code, 1, "{without}");
}

/// The files of a driver, as it installs them, below `machine`.
fn install_driver(home: &Home) {
    for name in ["libcuda.so.999.88.77", "libnvidia-ml.so.999.88.77", "libcuda.so.1"] {
        home.write(&format!("machine/usr/lib/x86_64-linux-gnu/{name}"), format!("{name}\n"));
    }
    home.write("machine/usr/bin/nvidia-smi", "tool\n");
    for (name, minor) in [("nvidia0", 0), ("nvidia1", 1), ("nvidiactl", 255)] {
        node(home, &format!("machine/dev/{name}"), minor);
    }
}

#[test]
fn gpus_are_found_where_nobody_has_described_them() {
    let home = with_image();
    install_driver(&home);
    let machine = "--network none --cdi-spec-dir $HOME/none --driver-root $HOME/machine";
    let listed = |flags: &str| {
        let line = format!("rbuild run --rm {machine} {flags} app sh -c 'ls /dev | grep nvidia'");
        home.types(&line).stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(listed("--gpus all"), ["nvidia0", "nvidia1", "nvidiactl"]);
    assert_eq!(listed("--gpus 1"), ["nvidia0", "nvidiactl"]);
    assert_eq!(listed("--gpus device=1"), ["nvidia1", "nvidiactl"]);
    assert_eq!(listed("--runtime=nvidia -e NVIDIA_VISIBLE_DEVICES=0"), ["nvidia0", "nvidiactl"]);
    assert_eq!(listed("--runtime=nvidia -e NVIDIA_VISIBLE_DEVICES=none"), ["nvidiactl"]);
    assert!(listed("--runtime=nvidia").is_empty(), "nothing names a device");
    assert!(listed("-e NVIDIA_VISIBLE_DEVICES=all").is_empty(), "an image alone gets nothing");
    let script = format!("cat /usr/lib/x86_64-linux-gnu/libcuda.so; {}", opens("/dev/nvidia0"));
    let ran = home.types(&format!("rbuild run --rm {machine} --gpus all app sh -c \"{script}\""));
    assert_eq!(ran.ok(), "libcuda.so.999.88.77\nNo such device or address");
    for (flags, reason) in [
        ("--gpus 3", "3 GPUs are asked for, and there are 2"),
        ("--gpus device=7", "nvidia.com/gpu=7"),
        ("--driver-root $HOME/none --gpus all", "no NVIDIA driver was found"),
        ("--runtime /no/such/runtime", "unknown or invalid runtime name"),
    ] {
        let ran = home.types(&format!("rbuild run --rm {machine} {flags} app true"));
        assert!(ran.stderr.contains(reason), "{flags}: {ran}");
        ran.fails(125);
    }
}

#[test]
fn the_line_of_the_tutorial_works_on_a_jetson() {
    let home = home();
    let lists = "machine/etc/nvidia-container-runtime/host-files-for-container.d";
    home.write("machine/etc/nv_tegra_release", "# R36 (release)\n");
    home.write("machine/sys/devices/soc0/family", "Tegra\n");
    home.write(&format!("{lists}/devices.csv"), "dev, /dev/nvmap\ndev, /dev/nvhost-*\n");
    let library = "/usr/lib/aarch64-linux-gnu/nvidia/libcuda.so.1.1";
    home.write(&format!("{lists}/drivers.csv"), format!("lib, {library}\nlib, /missing.so\n"));
    home.write(&format!("machine{library}"), "library\n");
    for (name, minor) in [("nvmap", 1), ("nvhost-gpu", 2), ("nvhost-ctrl-gpu", 3)] {
        node(&home, &format!("machine/dev/{name}"), minor);
    }
    let yolo = "#!/bin/sh\\necho $@; ls /dev | grep -e nv -e video; cat /etc/nv_tegra_release \
                /usr/lib/aarch64-linux-gnu/nvidia/*.so.*; echo $LD_LIBRARY_PATH; tty";
    let dockerfile = format!(
        "FROM busybox\nENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all\n\
         RUN printf '{yolo}\\n' >/bin/yolo && chmod +x /bin/yolo\n"
    );
    home.builds("ultralytics/ultralytics:latest-jetson-jetpack6", &dockerfile).ok();
    node(&home, "machine/dev/video0", 9);
    // What a Jetson has is laid over this machine's files, where nobody but the line sees it.
    let layers = ["etc", "usr/lib", "dev"].map(|folder| {
        format!("mount -t overlay none -o lowerdir=$HOME/machine/{folder}:/{folder} /{folder}")
    });
    let tutorial = "rbuild run -it --rm --device=/dev/video0 --runtime=nvidia --ipc=host \
        ultralytics/ultralytics:latest-jetson-jetpack6 yolo predict source=0";
    let line = format!("unshare -m sh -c '{} && exec {tutorial}'", layers.join(" && "));
    let (code, screen) = home.terminal(&line).wait();
    assert_eq!(code, 0, "{screen}");
    for part in [
        "predict source=0",
        "nvhost-ctrl-gpu",
        "nvhost-gpu",
        "nvmap",
        "video0",
        "# R36",
        "library",
        "/usr/lib/aarch64-linux-gnu/nvidia",
        "/dev/pts/0",
    ] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
}

/// A library of this machine's C library, which has a name of its own in it: `libm.so.6`.
fn real_library() -> PathBuf {
    let folder = format!("/lib/{}-linux-gnu/libm.so.6", std::env::consts::ARCH);
    fs::canonicalize(folder).expect("the machine has a C library")
}

/// An image with the linker of a C library, and a library that a device brings to a folder of its
/// own; `more` is added to the Dockerfile.
fn with_linker(more: &str) -> Home {
    let home = home();
    fs::create_dir_all(home.path("context")).unwrap();
    fs::copy("/sbin/ldconfig", home.path("context/ldconfig")).expect("the machine has a C library");
    home.write("host/libgpu.so.1.1", fs::read(real_library()).unwrap());
    let description = format!(
        r#"{{"cdiVersion": "0.6.0", "kind": "vendor.example/gpu", "devices": [{{"name": "one",
        "containerEdits": {{"mounts": [{{"hostPath": "{}host/libgpu.so.1.1",
            "containerPath": "/usr/lib/own/libgpu.so.1.1", "options": ["ro", "bind"]}}]}}}}]}}"#,
        home.path("").display()
    );
    home.write("cdi/vendor.json", description);
    let dockerfile = format!(
        "FROM busybox\nCOPY ldconfig /sbin/ldconfig\nCOPY --chmod=755 --from=busybox /bin/busybox /bin/busybox\n{more}\n"
    );
    home.write("context/Dockerfile", dockerfile);
    home.types("rbuild -t app context").ok();
    home
}

const WITH_DEVICE: &str =
    "rbuild run --rm --network none --cdi-spec-dir $HOME/cdi --device vendor.example/gpu=one";

#[test]
fn the_linker_of_the_image_finds_the_libraries_of_devices() {
    let home = with_linker("RUN adduser -D -u 1000 user 2>/dev/null || true");
    let listed = |flags: &str| {
        home.types(&format!("{WITH_DEVICE} {flags} app sh -c 'ldconfig -p; echo; ls /usr/lib/own'"))
            .stdout
    };
    let usual = listed("");
    // By the name that the library gives itself, in the cache and as a link.
    assert!(usual.contains("libm.so.6 (libc6,") && usual.contains("=> /usr/lib/own/libm.so.6"));
    assert!(usual.ends_with("libgpu.so.1.1\nlibm.so.6\n"), "{usual}");
    for flags in ["-u 1000", "--read-only", "--init"] {
        assert!(!listed(flags).contains("libm.so.6"), "{flags}: it can do no more than the user");
    }
    let other = home.types(&format!("{WITH_DEVICE} --runtime runc app ldconfig -p"));
    assert!(other.stdout.contains("/usr/lib/own/libm.so.6"), "{other}");
}

#[test]
fn a_linker_s_cache_that_is_a_link_leads_nowhere() {
    let home = with_linker("RUN ln -s /host/victim /etc/ld.so.cache");
    home.write("shared/victim", "untouched\n");
    let before = fs::metadata("/etc/ld.so.cache").and_then(|file| file.modified()).ok();
    home.types(&format!("{WITH_DEVICE} -v $HOME/shared:/host app true")).ok();
    assert_eq!(home.read("shared/victim"), "untouched\n");
    let files: Vec<_> = fs::read_dir(home.path("shared")).unwrap().flatten().collect();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(fs::metadata("/etc/ld.so.cache").and_then(|file| file.modified()).ok(), before);
}

#[test]
fn variables_choose_what_of_the_driver_there_is() {
    let home = with_image();
    install_driver(&home);
    let folder = "machine/usr/lib/x86_64-linux-gnu";
    home.write(&format!("{folder}/libnvcuvid.so.999.88.77"), "video\n");
    for name in ["libcuda.so.470.57.02", "libcuda.so.1"] {
        home.write(&format!("old/usr/lib/x86_64-linux-gnu/{name}"), "old\n");
    }
    node(&home, "old/dev/nvidia0", 0);
    let run = |machine: &str, flags: &str| {
        let common = "rbuild run --rm --network none --gpus all --cdi-spec-dir $HOME/none";
        let script = "ls /usr/lib/x86_64-linux-gnu /usr/bin/nvidia-smi 2>/dev/null";
        home.types(&format!("{common} --driver-root $HOME/{machine} {flags} app sh -c '{script}'"))
    };
    let has = |flags: &str| {
        let said = run("machine", flags).stdout;
        ["libcuda.so.1", "libnvidia-ml.so", "nvidia-smi", "libnvcuvid.so"]
            .map(|it| said.contains(it))
    };
    assert_eq!(has(""), [true, true, true, false], "what is useful and computes");
    assert_eq!(has("-e NVIDIA_DRIVER_CAPABILITIES=compute"), [true, false, false, false]);
    assert_eq!(has("-e NVIDIA_DRIVER_CAPABILITIES=video,utility"), [false, true, true, true]);
    assert_eq!(has("-e NVIDIA_DRIVER_CAPABILITIES=all"), [true; 4]);
    let required = "-e NVIDIA_REQUIRE_CUDA='cuda>=12.0 brand=x,driver>=535,driver<536'";
    let ran = run("old", required);
    assert!(ran.stderr.contains("unsatisfied condition: NVIDIA_REQUIRE_CUDA=cuda>=12.0"), "{ran}");
    assert!(ran.stderr.contains("the driver 470.57.02 has CUDA 11.4"), "{ran}");
    ran.fails(125);
    let asks_nothing = run("old", &format!("{required} -e NVIDIA_DISABLE_REQUIRE=1"));
    assert!(asks_nothing.stdout.contains("libcuda.so.470.57.02"), "{asks_nothing}");
    assert!(run("old", "-e NVIDIA_REQUIRE_CUDA='cuda>=11.4'").stdout.contains("470.57.02"));
}

/// Runtimes have taken labels of images and annotations for orders: hooks, devices, files.
#[test]
fn labels_of_an_image_order_nothing() {
    let home = home();
    node(&home, "fake/nvidia0", 0);
    install_driver(&home);
    let place = home.path("");
    let place = place.display();
    let description = format!(
        r#"{{"cdiVersion": "0.6.0", "kind": "vendor.example/gpu", "devices": [{{"name": "one",
        "containerEdits": {{"env": ["DEVICE=one"],
            "deviceNodes": [{{"path": "/dev/nvidia0", "hostPath": "{place}fake/nvidia0"}}],
            "hooks": [{{"hookName": "createContainer", "path": "/bin/touch",
                "args": ["touch", "{place}hooked"]}}]}}}}]}}"#
    );
    home.write("cdi/vendor.json", description);
    let labels = [
        "cdi.k8s.io/vfio=vendor.example/gpu=one",
        "cdi.k8s.io/gpu=vendor.example/gpu=one",
        "com.nvidia.volumes.needed=nvidia_driver",
        "com.nvidia.cuda.version=12",
        "run.oci.hooks=/bin/touch",
        "io.containerd.runc.v2.hooks=/bin/touch",
        "org.opencontainers.runtime-spec.hooks=/bin/touch",
        "org.mobyproject.buildkit.device.autoallow=true",
    ];
    let labels = labels.map(|label| format!("\"{}\"", label.replacen('=', "\"=\"", 1)));
    let env = "ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all CUDA_VERSION=12";
    home.builds("app", &format!("FROM busybox\nLABEL {}\n{env}\n", labels.join(" "))).ok();
    for flags in ["", "--label cdi.k8s.io/x=vendor.example/gpu=one", "--runtime runc"] {
        let ran = home.types(&format!(
            "rbuild run --rm --network none --cdi-spec-dir $HOME/cdi --driver-root $HOME/machine \
             {flags} app sh -c 'echo $DEVICE; ls /dev | grep nvidia; ls /usr/lib'"
        ));
        assert!(!ran.stdout.contains("nvidia") && !ran.stdout.contains("one"), "{flags}: {ran}");
    }
    assert!(!home.path("hooked").exists(), "no hook has run");
}

#[test]
fn a_step_gets_a_device_with_what_nvidia_s_hooks_would_do() {
    let home = home();
    home.write("host/lib.so", "library\n");
    let describe = |hook: &str| {
        let place = home.path("");
        let place = place.display();
        let description = format!(
            r#"{{"cdiVersion": "0.6.0", "kind": "vendor.example/gpu", "devices": [{{"name": "one",
            "containerEdits": {{"env": ["DEVICE=one"],
                "mounts": [{{"hostPath": "{place}host/lib.so", "containerPath": "/opt/lib.so",
                    "options": ["ro", "bind"]}}], "hooks": [{hook}]}}}}]}}"#
        );
        home.write("etc/cdi/vendor.json", description);
    };
    let build = |step: &str| {
        home.write(
            "Dockerfile",
            format!("FROM busybox\nRUN --device=vendor.example/gpu=one {step}\n"),
        );
        // Where descriptions are is laid over this machine's files, which nobody else sees.
        let lay = "mount -t overlay none -o lowerdir=$HOME/etc:/etc /etc";
        let build = "rbuild --no-cache --allow device --progress plain .";
        home.types(&format!("unshare -m sh -c '{lay} && exec {build}'"))
    };
    describe(
        r#"{"hookName": "createContainer", "path": "/usr/bin/nvidia-ctk",
        "args": ["nvidia-ctk", "hook", "create-symlinks", "--link", "lib.so::/opt/lib.so.1"]}"#,
    );
    build("test $DEVICE = one && grep library /opt/lib.so.1").ok();
    describe(r#"{"hookName": "createContainer", "path": "/bin/true"}"#);
    let refused = build("true");
    assert!(
        refused.stderr.contains("the createContainer hook `/bin/true` of the host"),
        "{refused}"
    );
    assert_ne!(refused.code, 0);
}
