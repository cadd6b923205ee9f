//! Compiles the filter of system calls that nearly every container gets, ahead of time: from the
//! same table and by the same code as the crate compiles the others.

// The crate uses more of these files than this program does.
#[allow(dead_code, reason = "the crate uses the rest")]
#[path = "src/seccomp/compile.rs"]
mod compile;
#[allow(dead_code, reason = "the crate uses the rest")]
#[path = "src/caps/names.rs"]
mod names;
#[allow(dead_code, reason = "the crate uses the rest")]
#[path = "src/seccomp/profile.rs"]
mod profile;

use std::fmt::Write;
use std::path::Path;

use profile::Abi;

#[expect(clippy::disallowed_methods, reason = "Cargo says by variables what to build, and where")]
fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn main() -> std::io::Result<()> {
    let sources = ["build.rs", "src/seccomp", "src/caps/names.rs"];
    for source in sources {
        println!("cargo::rerun-if-changed={source}");
    }
    // This program may run on another kind of machine than the crate.
    let abis = match variable("CARGO_CFG_TARGET_ARCH").as_str() {
        "aarch64" => [Abi::Aarch64, Abi::Arm],
        _ => [Abi::X86_64, Abi::I386],
    };
    let program = compile::compile(&abis, &|name| names::DEFAULT.contains(&name));
    let mut text = "&[".to_owned();
    for one in program {
        let (high, low) = (one.k >> 16, one.k & 0xffff);
        let _ = write!(text, "({}, {}, {}, {high:#x}_{low:04x}),", one.code, one.jt, one.jf);
    }
    text.push(']');
    std::fs::write(Path::new(&variable("OUT_DIR")).join("default_filter.rs"), text)
}
