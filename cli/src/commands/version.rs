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

/// The client is its own server, so scripts that ask for either get an answer.
fn about() -> Value {
    let side = json!({
        "Version": VERSION,
        "Os": std::env::consts::OS,
        "Arch": rbuild::platform::host().architecture(),
    });
    json!({ "Client": side, "Server": side })
}
