//! `info`: the machine and the store.

use std::path::Path;

use rbuild::container::{self, Status};
use rbuild::images;
use serde_json::{Map, Value, json};

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
    let mut info = json!({
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
    info.as_object_mut().into_iter().for_each(|info| info.extend(more()));
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

/// What scripts ask docker for to learn what they can do.
fn more() -> Map<String, Value> {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let is_unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let fields = json!({
        "ID": file("/etc/machine-id").trim(),
        "Driver": "overlay2",
        "DriverStatus": null,
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if is_unified { "2" } else { "1" },
        "DefaultRuntime": "rbuild",
        "Runtimes": { "rbuild": { "path": "rbuild" } },
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
        "OperatingSystem": pretty_name(&file("/etc/os-release")),
        "OSVersion": "",
        "LoggingDriver": "json-file",
        "Swarm": { "LocalNodeState": "inactive", "NodeID": "", "ControlAvailable": false },
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Log": ["json-file", "local", "none"],
        },
        "ClientInfo": { "Context": "default" },
        "Debug": false,
        "HttpProxy": "",
        "HttpsProxy": "",
        "NoProxy": "",
        "Labels": [],
        "ServerErrors": null,
        "Warnings": null,
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// What a system calls itself.
fn pretty_name(release: &str) -> &str {
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or("Linux", |name| name.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_ask_for_these() {
        let info = Value::from(more());
        let shown = |template: &str| Format::parse(template).unwrap().one(&info).unwrap();
        assert_eq!(
            shown("{{.Driver}} {{.CgroupDriver}} {{.DefaultRuntime}} {{.LoggingDriver}}"),
            "overlay2 cgroupfs rbuild json-file\n"
        );
        assert_eq!(shown("{{.Swarm.LocalNodeState}}"), "inactive\n");
        assert_eq!(shown("{{range $name, $r := .Runtimes}}{{$name}}{{end}}"), "rbuild\n");
        assert!(["1\n", "2\n"].contains(&&*shown("{{.CgroupVersion}}")));
        assert_eq!(pretty_name("ID=a\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
        assert_eq!(pretty_name(""), "Linux");
    }
}
