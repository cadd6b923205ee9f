//! What differs between images, and between builds of the same.

use serde_json::Value;

use crate::home;
use rbuild_testkit::Home;

const FIRST: &str = "FROM busybox\nENV A=1\nRUN echo one >/file && mkdir -p /gone/deep && echo x >/gone/deep/x\n\
    LABEL note=x\nCMD [\"a\"]\n";
const SECOND: &str = "FROM busybox\nENV A=2\nRUN echo two >/file && echo new >/new && chmod 0600 /new && \
    rm /etc/group\nCMD [\"b\"]\n";

fn both() -> Home {
    let home = home();
    home.builds("first", FIRST).ok();
    home.builds("second", SECOND).ok();
    home
}

#[test]
fn files_and_config_that_differ_are_told() {
    let home = both();
    let ran = home.types("rbuild diff first second");
    assert_eq!(ran.code, 1, "{ran}");
    let told = ran.stdout;
    for line in [
        "+ /new  file 0600 0:0 4\n",
        "- /gone  directory 0755 0:0, and 2 in it\n",
        "~ env A 1 -> 2\n",
        "- label note x\n",
        "~ cmd [\"a\"] -> [\"b\"]\n",
    ] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
    assert!(told.contains("- /etc/group  file"), "what a layer hides is gone: {told}");
    assert!(told.contains("~ /file  content sha256:"), "{told}");
    assert!(!told.contains("~ /bin"), "what both share does not differ: {told}");
    assert!(!told.contains("created"), "times do not count: {told}");

    let json = home.types("rbuild diff --format json second first");
    assert_eq!(json.code, 1);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let files = json["Files"].as_array().unwrap();
    let group = files.iter().find(|file| file["Path"] == "/etc/group").unwrap();
    assert_eq!(group["Change"], "added");
    assert_eq!(files.iter().filter(|file| file["Change"] == "added").count(), 4);
}

#[test]
fn equal_images_are_equal_and_trouble_is_neither() {
    let home = both();
    let ran = home.types("rbuild diff first first");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
    let error = home.types("rbuild diff first nothing-here").fails(2);
    assert!(error.contains("no such image"), "{error}");
    // An image and what was written of it are the same.
    home.types("rbuild save -o first.tar first").ok();
    home.types("rbuild diff --times first oci-layout://first.tar").ok();
    assert_eq!(home.types("rbuild diff second oci-layout://first.tar").code, 1);
}

#[test]
fn a_container_tells_what_it_changed() {
    let home = both();
    let line = "rbuild run --name web first sh -c 'echo >/etc/new; rm /file; mkdir /d; echo >/d/f'";
    home.types(line).ok();
    let told = home.types("rbuild diff web").ok();
    assert_eq!(told, "A /d\nA /d/f\nC /etc\nA /etc/new\nD /file");
    let error = home.types("rbuild diff nobody").fails(1);
    assert!(error.to_lowercase().contains("no such container"), "{error}");
}

#[test]
fn a_build_that_is_the_same_each_time_is_verified() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nCOPY file /file\nRUN cat /file >/copy\n");
    home.write("app/file", "x\n");
    home.types("rbuild -t app app").ok();
    let before = home.types("rbuild images --no-trunc -q").ok();
    let told = home.types("SOURCE_DATE_EPOCH=1000000000 rbuild verify --progress none app").ok();
    assert!(told.contains("Reproducible"), "{told}");
    assert_eq!(home.types("rbuild images --no-trunc -q").ok(), before, "no name moves");
    assert_eq!(home.types("rbuild images | wc -l").ok(), "2", "nothing is listed that was not");
}

#[test]
fn times_differ_unless_one_is_set_for_all() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN echo same >/same\n");
    let ran = home.types("rbuild verify --progress none app");
    assert_eq!(ran.code, 1, "{ran}");
    assert!(ran.stdout.contains("only times differ"), "{ran}");
    assert!(ran.stdout.contains("~ /same  time "), "{ran}");
    let told = home.types("rbuild verify --progress none --ignore-times app").ok();
    assert!(told.ends_with("Reproducible but for times."), "{told}");
    let told = home.types("rbuild verify --progress none --build-arg SOURCE_DATE_EPOCH=9 app").ok();
    assert!(told.starts_with("Reproducible where `rewrite-timestamp=true`"), "{told}");
    home.write("app/Dockerfile", "FROM busybox\nENV A=1\n");
    let told = home.types("rbuild verify --progress none --build-arg SOURCE_DATE_EPOCH=9 app").ok();
    assert_eq!(told, "Reproducible: both builds gave the same image.");
}

#[test]
fn the_first_step_that_differs_is_named_with_its_files() {
    let home = home();
    let file = "FROM busybox\nRUN echo same >/same\n\
        RUN head -c 16 /dev/urandom >/random && echo same >/too\nRUN echo after >/after\n";
    home.write("app/Dockerfile", file);
    let line = "SOURCE_DATE_EPOCH=1000000000 rbuild verify --progress none app";
    let ran = home.types(line);
    assert_eq!(ran.code, 1, "{ran}");
    let told = ran.stdout;
    let begin = "The first layer that differs: layer 3, RUN /bin/sh -c head -c 16 /dev/urandom";
    assert!(told.starts_with(begin), "{told}");
    assert!(told.contains("~ /random  content sha256:"), "{told}");
    assert!(!told.contains("~ /too") && !told.contains("~ /after"), "{told}");
    let json = home.types(&format!("{line} --format json"));
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["Reproducible"], &json["TimesOnly"]), (&false.into(), &false.into()));
    assert_eq!(json["Layers"][0]["Layer"], 3);
}

#[test]
fn a_build_that_fails_is_not_verified() {
    let home = home();
    home.write("app/Dockerfile", "FROM busybox\nRUN exit 7\n");
    let error = home.types("rbuild verify app").fails(1);
    assert!(error.contains("exit code: 7"), "{error}");
}
