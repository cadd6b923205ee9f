//! The environment of a container's processes.

use rbuild_runtime::DEFAULT_PATH;

use super::folder::Record;
use crate::image::set;

/// Docker's own variables, then the user's, then those of the image that the user has not set.
pub(crate) fn environment(record: &Record, hostname: &str) -> Vec<String> {
    let (options, config) = (&record.options, &record.config);
    let mut env = vec![format!("PATH={DEFAULT_PATH}"), format!("HOSTNAME={hostname}")];
    if options.tty {
        env.push("TERM=xterm".to_owned());
    }
    let name = |line: &str| line.split('=').next().unwrap_or_default().to_owned();
    let by_user = |line: &&String| options.env.iter().any(|own| name(own) == name(line));
    let of_image = config.env.iter().filter(|line| !by_user(line));
    for line in options.env.iter().chain(of_image) {
        match line.split_once('=') {
            Some((name, value)) => set(&mut env, name, value),
            None => env.retain(|old| name(old) != *line),
        }
    }
    env
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::sample::record;

    #[test]
    fn the_user_has_the_last_word() {
        let mut record = record();
        record.config.env =
            ["PATH=/image", "A=image", "B=image", "C=image"].map(String::from).into();
        record.options.env = ["B=user", "C", "D=a=b"].map(String::from).into();
        assert_eq!(
            environment(&record, "host"),
            ["PATH=/image", "HOSTNAME=host", "B=user", "D=a=b", "A=image"]
        );
        record.options.tty = true;
        record.config.env.clear();
        record.options.env = vec!["TERM=dumb".to_owned(), "PATH".to_owned()];
        assert_eq!(environment(&record, "h"), ["HOSTNAME=h", "TERM=dumb"]);
    }
}
