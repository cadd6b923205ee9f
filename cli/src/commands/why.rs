//! `why`: why the steps of the last build ran, or one of them.

use rbuild::Miss;
use rbuild::report::{Outcome as Became, Report, ReportedStep};
use serde_json::{Value, json};

use super::{DONE, Outcome, Session, now, print};
use crate::args::WhyArgs;
use crate::failure::Failure;
use crate::format::Format;
use crate::reason::{change, reason};
use crate::table::{ago, table};

pub(super) fn run(args: &WhyArgs, session: &Session) -> Outcome {
    let reports = Report::all(&session.store()?)?;
    let Some(report) = reports.into_iter().find(|report| is_wanted(args, report)) else {
        let message = "there is no build to tell of";
        return Err(
            Failure::usage(message).hint("build something first, or name another `-f FILE`")
        );
    };
    let steps = steps(args, &report)?;
    let text = match (args.format.as_deref(), steps.as_slice()) {
        (Some(format), _) => formatted(format, &report, &steps)?,
        (None, [(_, step)]) if args.step.is_some() => one(&report, step),
        (None, _) => format!("{}\n\n{}", heading(&report), rows(&report, &steps)),
    };
    print(&text)?;
    Ok(DONE)
}

fn is_wanted(args: &WhyArgs, report: &Report) -> bool {
    let file = args.file.as_ref().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone()));
    let is_file = file.is_none_or(|path| path.as_os_str() == report.dockerfile.as_str());
    is_file && (args.target.is_none() || args.target == report.target)
}

/// The steps that were asked for, with their numbers from 1.
fn steps<'r>(
    args: &WhyArgs,
    report: &'r Report,
) -> Result<Vec<(usize, &'r ReportedStep)>, Failure> {
    let all: Vec<_> = report.steps.iter().enumerate().map(|(at, step)| (at + 1, step)).collect();
    let Some(typed) = &args.step else {
        return Ok(all);
    };
    let found: Vec<_> = match typed.parse::<usize>() {
        Ok(number) => all.into_iter().filter(|(at, _)| *at == number).collect(),
        Err(_) => all.into_iter().filter(|(_, step)| step.name.contains(typed)).collect(),
    };
    if found.is_empty() {
        let message = format!("no step of the last build has the number or text `{typed}`");
        return Err(Failure::usage(message).hint("`rbuild why` lists them"));
    }
    Ok(found)
}

fn heading(report: &Report) -> String {
    let ran = report.steps.iter().filter(|step| step.outcome == Became::Ran).count();
    let target = report.target.as_ref().map(|target| format!(", target {target}"));
    let ended = match &report.image {
        Some(image) => format!("built {}", image.get(..19).unwrap_or(image)),
        None => "failed".to_owned(),
    };
    format!(
        "{}{}, {}: {ended} {}; {ran} of {} steps ran",
        report.dockerfile,
        target.unwrap_or_default(),
        report.platform,
        ago(report.ended, now()).to_lowercase(),
        report.steps.len()
    )
}

fn rows(report: &Report, steps: &[(usize, &ReportedStep)]) -> String {
    let titles = ["#", "STEP", "RESULT", "TIME", "WHY"].map(str::to_owned).to_vec();
    let row = |(number, step): &(usize, &ReportedStep)| {
        let number = number.to_string();
        vec![number, shown(&step.name), became(step).to_owned(), time(step), why(report, step)]
    };
    let table = table(&std::iter::once(titles).chain(steps.iter().map(row)).collect::<Vec<_>>());
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A name that leaves room for the reason.
fn shown(name: &str) -> String {
    const LONGEST: usize = 50;
    let name = name.replace(['\n', '\t'], " ");
    if name.chars().count() <= LONGEST {
        return name;
    }
    name.chars().take(LONGEST - 1).chain(['…']).collect()
}

fn became(step: &ReportedStep) -> &'static str {
    match step.outcome {
        Became::CachedByDefinition | Became::CachedByContent => "cached",
        Became::Ran => "ran",
        Became::Failed => "failed",
        Became::Canceled => "stopped",
        _ => "not reached",
    }
}

fn time(step: &ReportedStep) -> String {
    let (seconds, tenths) = (step.milliseconds / 1000, step.milliseconds % 1000 / 100);
    match step.outcome {
        Became::Ran | Became::Failed => format!("{seconds}.{tenths}s"),
        _ => String::new(),
    }
}

/// Why a step had to run, and what has changed that was no reason to; a result that was found by
/// what it is made of says so too.
fn why(report: &Report, step: &ReportedStep) -> String {
    let reasons = [ran(report, step), unkeyed(step)];
    reasons.into_iter().filter(|reason| !reason.is_empty()).collect::<Vec<_>>().join("; ")
}

/// What has changed since the result of a step was made, though it is not part of its key.
fn unkeyed(step: &ReportedStep) -> String {
    let names = step.changed_secrets.join("`, `");
    match step.changed_secrets.len() {
        0 => String::new(),
        1 => {
            format!("secret `{names}` changed since this step was made; it is not part of the key")
        }
        _ => format!(
            "secrets `{names}` changed since this step was made; they are not part of the key"
        ),
    }
}

fn ran(report: &Report, step: &ReportedStep) -> String {
    let after = step.after.iter().find_map(|index| report.steps.get(*index));
    match (&step.miss, step.outcome, after) {
        (Some(Miss::BaseChanged), _, Some(below)) => format!("`{}` ran", shown(&below.name)),
        (Some(Miss::BaseChanged), _, None) => bases(report),
        (Some(miss), ..) => reason(miss),
        (None, Became::CachedByContent, _) => "what it uses has the same contents".to_owned(),
        (None, Became::Ran, _) if step.name.contains("] FROM ") => {
            "its layers were fetched".to_owned()
        }
        (None, ..) => String::new(),
    }
}

/// Which images are others than the last time.
fn bases(report: &Report) -> String {
    let short = |digest: &str| digest.get(..19).unwrap_or(digest).to_owned();
    let changed = report.bases.iter().filter_map(|base| {
        let was = base.was.as_deref()?;
        Some(format!("{} was {}, is {}", base.name, short(was), short(&base.digest)))
    });
    let changed: Vec<_> = changed.collect();
    if changed.is_empty() { reason(&Miss::BaseChanged) } else { changed.join("; ") }
}

/// Everything about one step.
fn one(report: &Report, step: &ReportedStep) -> String {
    let mut lines = vec![step.name.clone(), format!("{} {}", became(step), time(step))];
    match &step.miss {
        Some(Miss::FilesChanged { files, count }) => {
            lines.extend(files.iter().map(|file| format!("  {}", change(file))));
            if *count > files.len() {
                lines.push(format!("  and {} more", count - files.len()));
            }
        }
        Some(Miss::OpChanged { part, old, new }) => {
            lines.extend([part.clone(), format!("  was {old}"), format!("  is  {new}")]);
        }
        _ => lines.push(why(report, step)),
    }
    lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The report, or the steps that were asked for, as JSON or by a template.
fn formatted(
    format: &str,
    report: &Report,
    steps: &[(usize, &ReportedStep)],
) -> Result<String, Failure> {
    let value = |step: &ReportedStep| {
        json!({
            "name": step.name, "outcome": step.outcome, "miss": step.miss,
            "why": why(report, step), "milliseconds": step.milliseconds,
            "changed_secrets": step.changed_secrets,
        })
    };
    let listed: Vec<Value> = steps.iter().map(|(_, step)| value(step)).collect();
    if format != "json" {
        return Ok(Format::parse(format)?.rows(&json!({}), &listed)?);
    }
    let whole = json!({
        "dockerfile": report.dockerfile, "target": report.target, "platform": report.platform,
        "ended": report.ended, "image": report.image, "bases": report.bases, "steps": listed,
    });
    Ok(format!("{whole:#}\n"))
}

#[cfg(test)]
mod tests {
    use rbuild::report::ReportedBase;
    use rbuild::{Change, FileChange};

    use super::*;

    fn step(name: &str, outcome: Became, miss: Option<Miss>, after: Vec<usize>) -> ReportedStep {
        let (name, changed_secrets) = (name.to_owned(), Vec::new());
        ReportedStep { name, outcome, miss, after, milliseconds: 1234, changed_secrets }
    }

    fn report() -> Report {
        let files = vec![FileChange { path: "src/main.rs".to_owned(), change: Change::Added }];
        let base = ReportedBase {
            name: "docker.io/library/alpine:3".to_owned(),
            digest: "sha256:2222222222222222".to_owned(),
            was: Some("sha256:1111111111111111".to_owned()),
        };
        Report {
            dockerfile: "/app/Dockerfile".to_owned(),
            target: None,
            platform: "linux/amd64".to_owned(),
            ended: 0,
            image: Some("sha256:0123456789abcdef".to_owned()),
            bases: vec![base],
            steps: vec![
                step("[1/4] FROM docker.io/library/alpine:3@sha256:2", Became::Ran, None, vec![]),
                step("[2/4] RUN a", Became::Ran, Some(Miss::BaseChanged), vec![]),
                step(
                    "[3/4] COPY . .",
                    Became::Ran,
                    Some(Miss::FilesChanged { files, count: 4 }),
                    vec![1],
                ),
                step("[4/4] RUN make", Became::CachedByContent, None, vec![2]),
            ],
        }
    }

    fn typed(step: Option<&str>) -> WhyArgs {
        WhyArgs { step: step.map(str::to_owned), file: None, target: None, format: None }
    }

    #[test]
    fn each_step_has_its_reason() {
        let report = report();
        let all = steps(&typed(None), &report).unwrap();
        let told: Vec<_> = all.iter().map(|(_, step)| why(&report, step)).collect();
        let wanted = [
            "its layers were fetched",
            "docker.io/library/alpine:3 was sha256:111111111111, is sha256:222222222222",
            "src/main.rs added and 3 more",
            "what it uses has the same contents",
        ];
        assert_eq!(told, wanted);
        let lines = rows(&report, &all);
        assert!(lines.lines().nth(3).unwrap().contains("ran       1.2s"), "{lines}");
        assert!(heading(&report).contains("3 of 4 steps ran"));
    }

    #[test]
    fn secrets_that_have_changed_are_told_beside_the_reason() {
        let report = report();
        let told = |outcome, ids: &[&str]| {
            let changed_secrets = ids.iter().map(|id| (*id).to_owned()).collect();
            why(&report, &ReportedStep { changed_secrets, ..step("RUN x", outcome, None, vec![]) })
        };
        assert_eq!(
            told(Became::CachedByDefinition, &["npm"]),
            "secret `npm` changed since this step was made; it is not part of the key"
        );
        assert_eq!(
            told(Became::CachedByContent, &["a", "b"]),
            "what it uses has the same contents; secrets `a`, `b` changed since this step was made; \
             they are not part of the key"
        );
    }

    #[test]
    fn one_step_is_found_by_number_or_text() {
        let report = report();
        let name = |typed_step| {
            let found = steps(&typed(Some(typed_step)), &report).unwrap();
            found.iter().map(|(_, step)| step.name.clone()).collect::<Vec<_>>()
        };
        assert_eq!(name("3"), ["[3/4] COPY . ."]);
        assert_eq!(name("make"), ["[4/4] RUN make"]);
        assert_eq!(name("RUN").len(), 2);
        assert!(steps(&typed(Some("nothing")), &report).is_err());
        assert_eq!(
            one(&report, &report.steps[2]),
            "[3/4] COPY . .\nran 1.2s\n  src/main.rs added\n  and 3 more\n"
        );
    }
}
