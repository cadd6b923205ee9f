//! Fields that docker knows and that its JSON leaves out when they are empty: templates may ask
//! for them.

use serde_json::{Value, json};

/// The fields of an image.
fn image() -> Value {
    json!({
        "Parent": "", "DockerVersion": "", "Descriptor": null,
        "GraphDriver": { "Name": "overlayfs", "Data": null },
        "Config": {
            "User": "", "ExposedPorts": null, "Env": null, "Entrypoint": null, "Cmd": null,
            "Volumes": null, "WorkingDir": "", "Labels": null, "StopSignal": "",
            "ArgsEscaped": false, "Healthcheck": null, "OnBuild": null, "Shell": null,
        },
    })
}

/// The fields of a container.
fn container() -> Value {
    json!({
        "SizeRw": null, "SizeRootFs": null,
        "State": { "Health": null },
        "Config": {
            "StopSignal": "", "ExposedPorts": null, "StopTimeout": null, "Shell": null,
            "NetworkDisabled": false, "MacAddress": "", "Healthcheck": null, "ArgsEscaped": false,
        },
        "HostConfig": {
            "Tmpfs": null, "Mounts": null, "Links": null, "DeviceRequests": null,
            "ContainerIDFile": "", "MaskedPaths": null, "ReadonlyPaths": null,
            "Annotations": null, "StorageOpt": null, "VolumeDriver": "", "Cgroup": "",
            "Isolation": "", "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0,
        },
        "NetworkSettings": {
            "SandboxID": "", "SandboxKey": "", "Bridge": "", "HairpinMode": false,
            "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
            "SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null,
        },
    })
}

/// The fields of a container's mount.
fn mount() -> Value {
    json!({ "Name": "", "Driver": "", "Source": "" })
}

/// Adds the fields that the JSON of an image or a container leaves out.
pub(super) fn complete(value: &mut Value) {
    if value.get("RootFS").is_some() {
        add(value, image());
    } else if value.get("HostConfig").is_some() {
        add(value, container());
        for each in value["Mounts"].as_array_mut().into_iter().flatten() {
            add(each, mount());
        }
    }
}

/// Adds what is missing, also in the objects that are there.
fn add(value: &mut Value, known: Value) {
    let (Some(fields), Value::Object(known)) = (value.as_object_mut(), known) else { return };
    for (name, empty) in known {
        match fields.get_mut(&name) {
            Some(there) => add(there, empty),
            None => {
                fields.insert(name, empty);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;

    fn shown(mut value: Value, template: &str) -> String {
        complete(&mut value);
        Format::parse(template).unwrap().one(&value).unwrap()
    }

    #[test]
    fn empty_fields_are_known() {
        let container = || {
            json!({
                "State": { "Status": "running" }, "Config": {}, "NetworkSettings": {},
                "HostConfig": { "Tmpfs": { "/run": "" } },
                "Mounts": [{ "Type": "bind", "Source": "/a" }],
            })
        };
        let table = [
            ("{{if .State.Health}}has{{else}}none{{end}}", "none\n"),
            ("{{range .Mounts}}{{.Type}} {{.Name}}|{{end}}", "bind |\n"),
            ("{{.Config.StopSignal}}{{.Config.ExposedPorts}}{{.Config.Shell}}", "map[][]\n"),
            ("{{.Config.StopTimeout}} {{.Config.Healthcheck}} {{.SizeRw}}", "<nil> <nil> <nil>\n"),
            ("{{.HostConfig.Tmpfs}} {{.HostConfig.Links}}", "map[/run:] []\n"),
            ("{{.NetworkSettings.SandboxID}}{{.NetworkSettings.Bridge}}", "\n"),
        ];
        for (template, expected) in table {
            assert_eq!(shown(container(), template), expected, "{template}");
        }
        let unknown = Format::parse("{{.HostConfig.Tmfps}}").unwrap();
        assert!(unknown.one(&container()).is_err());
        let image = json!({ "RootFS": {}, "Config": { "User": "me" } });
        let template = "{{.Parent}}{{.GraphDriver.Name}} {{.Config.User}} {{.Config.Cmd}}";
        assert_eq!(shown(image, template), "overlayfs me []\n");
    }
}
