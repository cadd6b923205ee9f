//! Devices by their descriptions, and GPUs, on a machine that has none: fake descriptions, fake
//! nodes and a fake Jetson.

use std::fs;
use std::path::Path;

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
        ("--runtime /no/such/runtime", "not supported"),
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
    let yolo = "#!/bin/sh\\necho $@; ls /dev | grep nv; cat /etc/nv_tegra_release \
                /usr/lib/aarch64-linux-gnu/nvidia/*.so.*; echo $LD_LIBRARY_PATH; tty";
    let dockerfile = format!(
        "FROM busybox\nENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=all\n\
         RUN printf '{yolo}\\n' >/bin/yolo && chmod +x /bin/yolo\n"
    );
    home.builds("ultralytics/ultralytics:latest-jetson-jetpack6", &dockerfile).ok();
    let video = Path::new("/dev/video0");
    let device = if video.exists() { "/dev/video0" } else { "/dev/null:/dev/video0" };
    // The hidden flags are for the test; the rest is the tutorial's, but for a camera.
    let line = format!(
        "rbuild run -it --rm --device={device} --runtime=nvidia --ipc=host \
         --cdi-spec-dir $HOME/none --driver-root $HOME/machine \
         ultralytics/ultralytics:latest-jetson-jetpack6 yolo predict source=0"
    );
    let (code, screen) = home.terminal(&line).wait();
    assert_eq!(code, 0, "{screen}");
    for part in [
        "predict source=0",
        "nvhost-ctrl-gpu",
        "nvhost-gpu",
        "nvmap",
        "# R36",
        "library",
        "/usr/lib/aarch64-linux-gnu/nvidia",
        "/dev/pts/0",
    ] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
}
