//! `info`: the machine and the store.

use rbuild::container::{self, Status};
use rbuild::images;
use serde_json::json;

use super::version::VERSION;
use super::{DONE, Outcome, Session, print};
use crate::args::FormatArgs;
use crate::format::Format;
use crate::table::size;

pub(super) fn run(args: &FormatArgs, session: &Session) -> Outcome {
    let store = session.store()?;
    let all = container::list(&store, true)?;
    let count = |wanted: Status| all.iter().filter(|known| known.state.status == wanted).count();
    let (running, paused) = (count(Status::Running), count(Status::Paused));
    let system = rustix::system::uname();
    let memory = rustix::system::sysinfo();
    let memory = u64::from(memory.mem_unit) * memory.totalram as u64;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let info = json!({
        "ServerVersion": VERSION,
        "DockerRootDir": store.root(),
        "Containers": all.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": all.len() - running - paused,
        "Images": images::list(&store)?.len(),
        "KernelVersion": system.release().to_string_lossy(),
        "OSType": std::env::consts::OS,
        "Architecture": system.machine().to_string_lossy(),
        "NCPU": processors,
        "MemTotal": memory,
        "Name": system.nodename().to_string_lossy(),
    });
    if let Some(format) = &args.format {
        print(&Format::parse(format)?.one(&info)?)?;
        return Ok(DONE);
    }
    let lines = [
        ("Version", VERSION.to_owned()),
        ("Root", store.root().display().to_string()),
        ("Containers", format!("{} ({running} running)", all.len())),
        ("Images", info["Images"].to_string()),
        ("Kernel", system.release().to_string_lossy().into_owned()),
        ("Architecture", system.machine().to_string_lossy().into_owned()),
        ("CPUs", processors.to_string()),
        ("Memory", size(memory)),
    ];
    let text: String = lines.iter().flat_map(|(key, value)| [key, ": ", value, "\n"]).collect();
    print(&text)?;
    Ok(DONE)
}
