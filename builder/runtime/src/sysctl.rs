//! Which kernel settings a container may have of its own.

use crate::container::Namespace;
use crate::error::{Error, Result};

const OF_IPC: [&str; 9] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "fs.mqueue.",
];

/// Fails for a setting that is the host's, for all or because the container shares the namespace.
pub(crate) fn check(
    sysctls: &[(String, String)],
    network: &Namespace,
    ipc: &Namespace,
) -> Result<()> {
    for (name, _) in sysctls {
        let is_plain =
            name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        let is_host = |namespace: &Namespace| matches!(namespace, Namespace::Host);
        let is_ipc = OF_IPC
            .iter()
            .any(|known| name == known || known.ends_with('.') && name.starts_with(known));
        let allowed = is_plain
            && !name.split('.').any(str::is_empty)
            && (name.starts_with("net.") && !is_host(network) || is_ipc && !is_host(ipc));
        if !allowed {
            return Err(Error::Invalid(format!("sysctl {name:?} is not the container's to set")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_of_private_namespaces() {
        let allowed = |name: &str, network: Namespace, ipc: Namespace| {
            check(&[(name.to_owned(), "1".to_owned())], &network, &ipc).is_ok()
        };
        let (private, host) = (|| Namespace::Private, || Namespace::Host);
        assert!(allowed("net.core.somaxconn", private(), host()));
        assert!(!allowed("net.core.somaxconn", host(), private()));
        assert!(allowed("kernel.shmmax", host(), private()));
        assert!(allowed("fs.mqueue.msg_max", host(), private()));
        assert!(!allowed("kernel.shmmax", private(), host()));
        for name in ["kernel.core_pattern", "net.../x", "net./../kernel", "vm.swappiness", ""] {
            assert!(!allowed(name, private(), private()), "{name}");
        }
    }
}
