//! Makers that die, and signals for a container that somebody waits for.

use rbuild_testkit::eventually;
use serde_json::json;

use super::{config, types, with_root};

#[test]
fn what_a_dead_maker_left_is_taken_away_by_force() {
    let home = with_root();
    let mut config = config("exit 3");
    let hook = format!("echo $$ >{}; exec sleep 1000", home.path("hook").display());
    config["hooks"] =
        json!({ "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", hook] }] });
    let id = format!("left-{}", std::process::id());
    let maker = types(&home, &config, &format!("create {id} >/dev/null 2>&1 & echo $!")).ok();
    let hook = eventually("its hook runs", || {
        let text = std::fs::read_to_string(home.path("hook")).ok()?;
        text.ends_with('\n').then(|| text.trim().to_owned())
    });
    let refused = types(&home, &config, &format!("delete --force {id}")).fails(1);
    assert!(refused.contains("is being made"), "{refused}");
    home.types(&format!("kill -9 {maker} {hook}")).ok();
    config["hooks"] = json!({});
    let refused = types(&home, &config, &format!("run {id}")).fails(1);
    assert!(refused.contains("already exists"), "{refused}");
    eventually("it is taken away", || {
        (types(&home, &config, &format!("delete --force {id}")).code == 0).then_some(())
    });
    assert_eq!(crate::limits::groups(&format!("rbuild/{id}")).len(), 0, "no group is left");
    types(&home, &config, &format!("run {id}")).fails(3);
}

#[test]
fn what_is_run_in_the_foreground_gets_the_signals_of_its_runtime() {
    let home = with_root();
    let script =
        "trap 'exit 7' TERM; trap 'echo usr' USR1; echo up >/up; while :; do sleep 0.05; done";
    let config = config(script);
    let waits = "while ! test -e rootfs/up; do sleep 0.01; done";
    let line = format!(
        "run box >out & {waits}; kill -USR1 $!; while ! grep -q usr out; do sleep 0.01; done; kill -TERM $!; wait $!"
    );
    types(&home, &config, &line).fails(7);
    assert_eq!(types(&home, &config, "list -q").ok(), "", "it is removed as ever");
}
