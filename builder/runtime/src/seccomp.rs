//! The system call filter: Docker's default profile as a BPF program that searches ranges.
//!
//! The kernel runs a new filter once for each call number while it is installed, so a binary
//! search over ranges of numbers installs much faster than a list of comparisons. The program for
//! the usual capabilities is made when this crate is built.

mod compile;
mod default;
mod filter;
mod profile;
#[cfg(test)]
mod tests;

use libc::sock_filter;

use crate::caps::Capabilities;
pub use filter::{Action, Comparison, Condition, Filter, Profile, Rule};
use profile::Abi;

/// What `build.rs` has compiled for a process with Docker's default capabilities: each instruction
/// as the members of `struct sock_filter`.
const DEFAULT: &[(u16, u8, u8, u32)] = include!(concat!(env!("OUT_DIR"), "/default_filter.rs"));

/// The filter for a process with these capabilities, for every ABI of this machine.
pub(crate) fn program(held: Capabilities) -> Vec<sock_filter> {
    if held == Capabilities::docker_default() {
        return DEFAULT.iter().map(|&(code, jt, jf, k)| sock_filter { code, jt, jf, k }).collect();
    }
    compile::compile(&Abi::HERE, &holding(held))
}

fn holding(held: Capabilities) -> impl Fn(&str) -> bool {
    move |name| name.parse().is_ok_and(|wanted| held.contains(wanted))
}
