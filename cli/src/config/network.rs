//! How patient rbuild is with servers: what was typed, else the environment, else a file.

use std::time::Duration;

use rbuild::Registries;
use rbuild::registries::Retry;

use super::file::File;
use super::{ConfigError, duration, variable};
use crate::args::Patience;

const RETRY: &str = "RBUILD_RETRY";
const RETRY_DELAY: &str = "RBUILD_RETRY_DELAY";
const IDLE_TIMEOUT: &str = "RBUILD_IDLE_TIMEOUT";

pub(super) fn apply(
    registries: Registries,
    typed: &Patience,
    files: &[File],
) -> Result<Registries, ConfigError> {
    let usual = Retry::default();
    let network = || files.iter().map(|file| &file.network);
    let count = match (typed.retry, variable(RETRY)) {
        (Some(count), _) => Some(count),
        (None, Some(value)) => {
            let count = value.parse();
            Some(count.map_err(|_| ConfigError::Variable { name: RETRY, value })?)
        }
        (None, None) => network().find_map(|network| network.retry),
    };
    let in_files = |pick: fn(&super::file::Network) -> &Option<String>| {
        network().find_map(|network| pick(network).clone())
    };
    let delay =
        span(typed.retry_delay.as_deref(), RETRY_DELAY, in_files(|network| &network.retry_delay))?;
    let idle = span(
        typed.idle_timeout.as_deref(),
        IDLE_TIMEOUT,
        in_files(|network| &network.idle_timeout),
    )?;
    let retry =
        Retry { count: count.unwrap_or(usual.count), delay: delay.unwrap_or(usual.delay), ..usual };
    let registries = registries.retry(retry);
    Ok(idle.into_iter().fold(registries, Registries::idle_timeout))
}

fn span(
    typed: Option<&str>,
    name: &'static str,
    in_files: Option<String>,
) -> Result<Option<Duration>, ConfigError> {
    let value = typed.map(str::to_owned).or_else(|| variable(name)).or(in_files);
    value.map(|value| duration(name, &value)).transpose()
}
