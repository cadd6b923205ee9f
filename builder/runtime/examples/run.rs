//! Runs a program in a folder as a container with this program's streams:
//! `cargo run -p rbuild-runtime --example run -- FOLDER PROGRAM [ARGUMENT...]`, as root.

use std::fs::File;
use std::process::ExitCode;

use rbuild_runtime::{Container, DEFAULT_PATH, Stdio, launch};

fn main() -> ExitCode {
    rbuild_runtime::init_if_asked();
    let mut arguments = std::env::args().skip(1);
    let root = arguments.next().and_then(|folder| File::open(folder).ok());
    let Some(root) = root else {
        return ExitCode::from(2);
    };
    let mut container = Container::new(root.into());
    container.process.argv = arguments.collect();
    container.process.env = vec![format!("PATH={DEFAULT_PATH}")];
    let ended = launch(container, Stdio::inherit()).and_then(|running| running.wait());
    let code = ended.map_or_else(|error| error.exit_code(), rbuild_runtime::Exit::code);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
