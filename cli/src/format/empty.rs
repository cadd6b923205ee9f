//! How Go prints what is null in JSON: there it still has a type.

/// Lists that may be null.
const LISTS: [&str; 29] = [
    "Aliases",
    "Args",
    "Binds",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Links",
    "MaskedPaths",
    "Mounts",
    "OnBuild",
    "ReadonlyPaths",
    "RepoDigests",
    "RepoTags",
    "SecurityOpt",
    "Shell",
    "Ulimits",
    "VolumesFrom",
];

/// Maps that may be null.
const MAPS: [&str; 11] = [
    "Annotations",
    "ExposedPorts",
    "Labels",
    "Options",
    "PortBindings",
    "Ports",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
    "DriverOpts",
];

/// Pointers that may be nil.
const POINTERS: [&str; 10] = [
    "Health",
    "Healthcheck",
    "Init",
    "MemorySwappiness",
    "OomKillDisable",
    "PidsLimit",
    "SizeRootFs",
    "SizeRw",
    "StopTimeout",
    "Descriptor",
];

/// What Go prints for a field of this name that is null.
pub(super) fn text(name: &str) -> &'static str {
    if LISTS.contains(&name) {
        "[]"
    } else if MAPS.contains(&name) {
        "map[]"
    } else if POINTERS.contains(&name) {
        "<nil>"
    } else {
        "<no value>"
    }
}
