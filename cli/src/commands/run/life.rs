//! The flags about the life of a container as the library has them, and `update`.

use std::time::Duration;

use rbuild::container::{self, LogConfig, Resources, Update};
use rbuild::image::Healthcheck;

use crate::args::{Health, Limits, Logging, UpdateArgs};
use crate::commands::{Outcome, Session, each};
use crate::failure::Failure;

pub(in crate::commands) fn update(args: &UpdateArgs, session: &Session) -> Outcome {
    if let Some(flag) = args.foreign.refused() {
        return Err(Failure::unsupported(flag));
    }
    let change = Update {
        resources: limits(&args.limits),
        restart: args.restart.as_deref().map(str::parse).transpose()?,
    };
    if change == Update::default() {
        return Err(Failure::usage("say what is to be changed: give a flag such as `--memory`"));
    }
    let store = session.store()?;
    each(&args.containers, |name| {
        container::update(&store, name, &change)?;
        Ok(format!("{name}\n"))
    })
}

pub(super) fn limits(typed: &Limits) -> Resources {
    Resources {
        memory: typed.memory.map(|size| size.0),
        memory_swap: typed.memory_swap.map(|swap| swap.0),
        memory_reservation: typed.memory_reservation.map(|size| size.0),
        cpus: typed.cpus,
        cpu_shares: typed.cpu_shares,
        cpu_quota: typed.cpu_quota,
        cpu_period: typed.cpu_period,
        cpuset_cpus: typed.cpuset_cpus.clone(),
        cpuset_mems: typed.cpuset_mems.clone(),
        pids_limit: typed.pids_limit,
        blkio_weight: typed.blkio_weight,
        ..Resources::default()
    }
}

pub(super) fn health(typed: &Health) -> Result<Option<Healthcheck>, Failure> {
    let nanoseconds = |time: Option<Duration>| {
        time.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX))
    };
    let check = Healthcheck {
        test: typed.health_cmd.iter().flat_map(|c| ["CMD-SHELL".to_owned(), c.clone()]).collect(),
        interval: nanoseconds(typed.health_interval),
        timeout: nanoseconds(typed.health_timeout),
        start_period: nanoseconds(typed.health_start_period),
        start_interval: nanoseconds(typed.health_start_interval),
        retries: typed.health_retries.unwrap_or_default(),
    };
    let says_something = check != Healthcheck::default();
    match (typed.no_healthcheck, says_something) {
        (true, true) => {
            Err(Failure::usage("`--no-healthcheck` and the flags of health checks contradict"))
        }
        (true, false) => {
            Ok(Some(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() }))
        }
        (false, _) => Ok(says_something.then_some(check)),
    }
}

pub(super) fn logging(typed: &Logging) -> Result<LogConfig, Failure> {
    let mut options = Vec::new();
    for text in &typed.log_opt {
        let wrong = || Failure::usage(format!("`--log-opt {text}` is not of the form NAME=VALUE"));
        options.push(text.split_once('=').ok_or_else(wrong)?);
    }
    Ok(LogConfig::new(typed.log_driver.as_deref().unwrap_or_default(), &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(command: Option<&str>, none: bool) -> Health {
        Health {
            health_cmd: command.map(str::to_owned),
            health_interval: Some(Duration::from_secs(1)).filter(|_| command.is_some()),
            health_timeout: None,
            health_retries: None,
            health_start_period: None,
            health_start_interval: None,
            no_healthcheck: none,
        }
    }

    #[test]
    fn a_check_is_typed_or_taken_away() {
        assert_eq!(health(&typed(None, false)).unwrap(), None);
        let check = health(&typed(Some("true"), false)).unwrap().unwrap();
        assert_eq!((check.interval, &*check.test[1]), (1_000_000_000, "true"));
        assert_eq!(health(&typed(None, true)).unwrap().unwrap().test, ["NONE"]);
        assert!(health(&typed(Some("true"), true)).is_err());
    }
}
