//! `version`: which rbuild this is.

use serde_json::{Value, json};

use super::{DONE, Outcome, print};
use crate::args::FormatArgs;
use crate::format::Format;

/// The version of this program.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn run(args: &FormatArgs) -> Outcome {
    let about = about();
    let text = match &args.format {
        Some(format) => Format::parse(format)?.one(&about)?,
        None => format!(
            "rbuild\n Version:  {VERSION}\n OS/Arch:  {}/{}\n",
            std::env::consts::OS,
            rbuild::platform::host().architecture()
        ),
    };
    print(&text)?;
    Ok(DONE)
}

/// The docker API whose fields and filters are known here.
const API: &str = "1.47";

/// The client is its own server, so scripts that ask for either get an answer.
fn about() -> Value {
    let side = json!({
        "Version": VERSION,
        "APIVersion": API,
        "DefaultAPIVersion": API,
        "MinAPIVersion": API,
        "GitCommit": "",
        "GoVersion": "",
        "BuildTime": "",
        "Experimental": false,
        "Context": "default",
        "KernelVersion": rustix::system::uname().release().to_string_lossy(),
        "Platform": { "Name": "rbuild" },
        "Os": std::env::consts::OS,
        "Arch": rbuild::platform::host().architecture(),
    });
    json!({ "Client": side, "Server": side })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_ask_for_these() {
        let shown = |template: &str| Format::parse(template).unwrap().one(&about()).unwrap();
        assert_eq!(shown("{{.Client.APIVersion}} {{.Server.APIVersion}}"), "1.47 1.47\n");
        assert_eq!(shown("{{.Server.Platform.Name}}"), "rbuild\n");
    }
}
