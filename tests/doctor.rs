//! What is said of a machine and what it lacks.

use crate::home;

#[test]
fn a_machine_that_can_run_these_tests_is_well() {
    let home = home();
    let host = home.registry.host();
    let told = home.types(&format!("rbuild doctor --registry {host}")).ok();
    for part in ["user", "namespaces", "overlay", "seccomp"] {
        let line = told.lines().find(|line| line.contains(&format!("  {part} ")));
        assert!(line.is_some_and(|line| line.starts_with("ok ")), "{part}: {told}");
    }
    assert!(told.contains(&format!("{host} answers")), "{told}");
    let left = home.types("ls -A \"$RBUILD_ROOT/layers\" \"$RBUILD_ROOT/tmp\"").stdout;
    assert!(!left.contains(".new-"), "nothing is left of what was tried: {left}");
}

#[test]
fn a_lack_is_told_with_what_helps_and_fails_only_what_is_needed() {
    let home = home();
    let format = "{{.Part}}/{{.Health}}/{{.Fix}}";
    let line = format!("rbuild doctor --registry 127.0.0.1:1 --format '{format}'");
    let told = home.types(&line).ok();
    let registry = told.lines().find(|line| line.starts_with("registry/")).unwrap();
    assert!(registry.starts_with("registry/missing/check the network"), "{told}");
    let told = home.types("rbuild --root /proc/none doctor --registry 127.0.0.1:1");
    assert_eq!(told.code, 1, "without a store nothing can be built: {told}");
    assert!(told.stdout.contains("BROKEN   overlay"), "{told}");
}
