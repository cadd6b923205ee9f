//! SSH agents for RUN: a step may list keys and sign with them, and do nothing else.
//!
//! What a step finds mounted is a socket of ours. Behind it a thread of the builder passes on what
//! is allowed, so that the step never holds the agent's own socket: it could add or remove keys
//! there, and unlock others. Keys from files are served by a private `ssh-agent` of this machine,
//! so that no key is read into this program.

mod forward;
mod message;
mod private;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rbuild_cache::Store;

pub(crate) use forward::Forward;
use private::PrivateAgent;

/// Where the keys of an SSH agent come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SshSource {
    /// The socket of an agent.
    Agent(PathBuf),
    /// Files of private keys without a passphrase.
    Keys(Vec<PathBuf>),
}

/// The SSH agents of a build, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Agents {
    sources: BTreeMap<String, SshSource>,
    /// Agents of our own, started when a step first needs one and ended with the build.
    started: Arc<Mutex<BTreeMap<String, PrivateAgent>>>,
}

impl Agents {
    /// Adds an agent, in place of one of the same name.
    pub(crate) fn insert(&mut self, id: String, source: SshSource) {
        self.sources.insert(id, source);
    }

    /// The socket of an agent; `None` when there is no agent of this name.
    pub(crate) fn socket(&self, id: &str, store: &Store) -> io::Result<Option<PathBuf>> {
        let keys = match self.sources.get(id) {
            None => return Ok(None),
            Some(SshSource::Agent(socket)) => return Ok(Some(socket.clone())),
            Some(SshSource::Keys(keys)) => keys,
        };
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = started.get(id) {
            return Ok(Some(agent.socket()));
        }
        let agent = PrivateAgent::start(store, keys)?;
        let socket = agent.socket();
        started.insert(id.to_owned(), agent);
        Ok(Some(socket))
    }
}
