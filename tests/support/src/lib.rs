//! What the end-to-end tests stand on: a user's home with a store of its own, a registry in this
//! process, a base image made from Debian's busybox, and the means to wait for what must come.
//!
//! A kit of tests panics where something is not as it must be, and says what.

#![expect(
    clippy::missing_panics_doc,
    reason = "panicking is how a test fails, so everything here may"
)]

mod actions;
pub mod archive;
mod base;
mod gate;
mod home;
mod http;
mod kit;
mod proxy;
mod ran;
mod registry;
mod small_disk;
mod terminal;
mod tls;
mod web;

use std::time::{Duration, Instant};

pub use actions::CacheService;
pub use base::{BASE, Base, digest};
pub use gate::Gate;
pub use home::Home;
pub use kit::{Server, find_kit, free_ports, skipped};
pub use proxy::Proxy;
pub use ran::{Ran, Started};
pub use registry::{Fault, Registry};
pub use small_disk::SmallDisk;
pub use terminal::Terminal;
pub use tls::Identity;
pub use web::Web;

/// How long something that must happen may take on a machine that is busy; a guard against hanging
/// for ever, on which no test's result hangs.
pub const GUARD: Duration = Duration::from_mins(4);

/// Asks again and again for what must come.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < GUARD, "it never came: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A table of images without its ages, which go on while two of them are printed: of each line the
/// first three words and the last.
pub fn ageless(table: &str) -> Vec<Vec<&str>> {
    let mut rows: Vec<Vec<&str>> = Vec::new();
    for line in table.lines() {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let last = words.pop();
        words.truncate(3);
        words.extend(last);
        rows.push(words);
    }
    rows
}
