//! The flags of `run` as the library has them.

use std::path::Path;

use rbuild::container::{self, Mount, RunOptions};

use crate::args::{CreateArgs, Network, Pair, Sandbox, Ulimit, csv};
use crate::commands::signals::{environment, lines, signal};
use crate::failure::Failure;

/// Everything that was typed, save the image.
pub(super) fn options(args: &CreateArgs, command: &[String]) -> Result<RunOptions, Failure> {
    let options = RunOptions {
        name: args.name.clone(),
        command: command.to_vec(),
        entrypoint: args.entrypoint.as_ref().map(|program| match program.as_str() {
            "" => Vec::new(),
            program => vec![program.to_owned()],
        }),
        env: environment(&args.env_file, &args.env)?,
        workdir: args.workdir.clone(),
        user: args.user.clone(),
        group_add: args.group_add.clone(),
        hostname: args.hostname.clone(),
        domainname: args.domainname.clone(),
        labels: labels(args)?.into_iter().collect(),
        tty: args.tty,
        interactive: args.interactive,
        init: args.init,
        restart: parse(args.restart.as_deref())?,
        stop_signal: args.stop_signal.as_deref().map(signal).transpose()?,
        stop_timeout: args.stop_timeout,
        mounts: mounts(args)?,
        read_only: args.files.read_only,
        devices: args.files.device.iter().map(|text| text.parse()).collect::<Result<_, _>>()?,
        shm_size: args.files.shm_size.map(|size| size.0),
        ..RunOptions::default()
    };
    sandbox(network(options, &args.network)?, &args.sandbox)
}

fn network(options: RunOptions, typed: &Network) -> Result<RunOptions, Failure> {
    let hosts = typed.add_host.iter().map(|text| container::add_host(text));
    Ok(RunOptions {
        network: parse(typed.network.as_deref())?,
        publish: typed.publish.clone(),
        publish_all: typed.publish_all,
        expose: typed.expose.clone(),
        add_hosts: hosts.collect::<Result<_, _>>()?,
        dns: typed.dns.clone(),
        dns_search: typed.dns_search.clone(),
        dns_options: typed.dns_option.clone(),
        ..options
    })
}

fn sandbox(options: RunOptions, typed: &Sandbox) -> Result<RunOptions, Failure> {
    let limit = |Ulimit { name, soft, hard }: &Ulimit| container::ulimit(name, *soft, *hard);
    Ok(RunOptions {
        privileged: typed.privileged,
        cap_add: typed.cap_add.clone(),
        cap_drop: typed.cap_drop.clone(),
        security_opt: typed.security_opt.clone(),
        ipc: parse(typed.ipc.as_deref())?,
        pid: parse(typed.pid.as_deref())?,
        uts: parse(typed.uts.as_deref())?,
        sysctls: typed.sysctl.iter().map(pair).collect(),
        ulimits: typed.ulimit.iter().map(limit).collect::<Result<_, _>>()?,
        memory: typed.memory.map(|size| size.0),
        cpus: typed.cpus,
        pids_limit: typed.pids_limit,
        ..options
    })
}

/// A value in the library's own words; none is the usual one.
fn parse<T>(text: Option<&str>) -> Result<T, Failure>
where
    T: std::str::FromStr<Err = container::Error> + Default,
{
    Ok(text.map(str::parse).transpose()?.unwrap_or_default())
}

fn pair(pair: &Pair) -> (String, String) {
    (pair.name.clone(), pair.value.clone().unwrap_or_default())
}

fn labels(args: &CreateArgs) -> Result<Vec<(String, String)>, Failure> {
    let mut labels = Vec::new();
    for file in &args.label_file {
        for line in lines(file)? {
            let (name, value) = line.split_once('=').unwrap_or((&line, ""));
            labels.push((name.to_owned(), value.to_owned()));
        }
    }
    labels.extend(args.label.iter().map(pair));
    Ok(labels)
}

fn mounts(args: &CreateArgs) -> Result<Vec<Mount>, Failure> {
    let here = std::env::current_dir().map_err(Failure::io("find the working directory"))?;
    let here: &Path = &here;
    let mut mounts = Vec::new();
    for text in &args.files.volume {
        mounts.push(Mount::volume(text, here)?);
    }
    for text in &args.files.mount {
        let fields = csv(text)
            .map_err(|error| Failure::usage(format!("cannot read `--mount {text}`: {error}")))?;
        mounts.push(Mount::from_fields(&fields, here)?);
    }
    for text in &args.files.tmpfs {
        mounts.push(Mount::tmpfs(text)?);
    }
    Ok(mounts)
}
