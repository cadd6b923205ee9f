//! Containers for real, as root: what is inside, what ends it, and what may not get out.
//!
//! The program has a `main` of its own, since containers are started by a copy of it. It takes
//! words that a test's name must have, like the usual harness, and `--list`.

#![expect(clippy::print_stdout, reason = "a test harness reports")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod attacks;
mod ends;
mod files;
mod inside;
mod network;
mod support;

use std::panic::catch_unwind;
use std::process::ExitCode;

type Test = (&'static str, fn());

fn main() -> ExitCode {
    rbuild_runtime::init_if_asked();
    ends::be_a_victim();
    // Every container is launched by a process that leaves a descriptor open for its children.
    let _careless = rustix::io::dup(rustix::stdio::stdout()).unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<_> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
    let all = [inside::TESTS, files::TESTS, ends::TESTS, attacks::TESTS, network::TESTS].concat();
    let is_wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(*word));
    let chosen: Vec<Test> = all.into_iter().filter(|(name, _)| is_wanted(name)).collect();
    if arguments.iter().any(|word| word == "--list") {
        for (name, _) in &chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    assert!(support::is_root(), "these tests make namespaces and mounts: run them as root");
    let mut failed: Vec<&str> = Vec::new();
    for (name, test) in &chosen {
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed.extend((!passed).then_some(*name));
    }
    println!("\n{} passed; {} failed: {failed:?}", chosen.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
