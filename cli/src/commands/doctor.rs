//! `doctor`: what this machine lacks, and the fix of each lack.

use std::fmt::Write as _;

use rbuild::doctor::{self, Finding, Health};
use serde_json::{Value, json};

use super::{DONE, FAILED, Outcome, Session, print};
use crate::args::DoctorArgs;
use crate::format::Format;
use crate::interrupt::block_on;

pub(super) fn run(args: &DoctorArgs, session: &Session) -> Outcome {
    let (store, registries) = (session.store()?, session.registries()?);
    let findings =
        block_on(async { Ok(doctor::examine(&store, &registries, &args.registry).await) })?;
    match args.format.as_deref().filter(|format| *format != "table") {
        Some(format) => {
            let rows: Vec<Value> = findings.iter().map(row).collect();
            print(&Format::parse(format)?.rows(&Value::Null, &rows)?)?;
        }
        None => print(&told(&findings))?,
    }
    let is_broken = findings.iter().any(|finding| finding.health == Health::Broken);
    Ok(if is_broken { FAILED } else { DONE })
}

/// A line for each part, and under it what helps.
fn told(findings: &[Finding]) -> String {
    let width = findings.iter().map(|finding| finding.part.len()).max().unwrap_or_default();
    let mut text = String::new();
    for Finding { part, health, seen, fix } in findings {
        let word = word(*health);
        let _ = writeln!(text, "{word:<7}  {part:<width$}  {seen}");
        if let Some(fix) = fix {
            let _ = writeln!(text, "{:9}{:width$}  hint: {fix}", "", "");
        }
    }
    text
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Good => "ok",
        Health::Missing => "missing",
        Health::Broken => "BROKEN",
    }
}

fn row(finding: &Finding) -> Value {
    json!({
        "Part": finding.part,
        "Health": word(finding.health).to_lowercase(),
        "Seen": finding.seen,
        "Fix": finding.fix.as_deref().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_line_up_and_lacks_have_a_hint() {
        let finding = |part, health, fix: Option<&str>| Finding {
            part,
            health,
            seen: "seen".to_owned(),
            fix: fix.map(str::to_owned),
        };
        let findings = [
            finding("root", Health::Good, None),
            finding("overlay", Health::Broken, Some("a new kernel")),
        ];
        assert_eq!(
            told(&findings),
            "ok       root     seen\nBROKEN   overlay  seen\n                  hint: a new kernel\n"
        );
    }
}
