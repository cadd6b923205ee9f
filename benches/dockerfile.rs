//! What it costs to read a Dockerfile, and to make the graph of it: as it grows, ten lines to a
//! stage and every stage wanted, and where it was written to cost as much as can be.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use rbuild::dockerfile::{Dockerfile, parse};
use rbuild::image::ImageConfig;
use rbuild::lower::{self, Request, ResolvedImage, Wanted};
use rbuild::platform;

/// How often each size is timed; the median counts.
const TURNS: usize = 9;

fn main() {
    if let Some(name) = std::env::args().nth(1).filter(|name| !name.starts_with("--")) {
        return one(&name);
    }
    println!("{:<16}{:>10}{:>10}{:>10}{:>14}", "ms", "parse", "lower", "both", "ns a line");
    for lines in [100, 1_000, 10_000, 100_000] {
        row(lines);
    }
    println!(
        "\n{:<16}{:>10}{:>10}{:>10}{:>10}  ",
        "hostile", "bytes", "parse ms", "lower ms", "peak MB"
    );
    let program = std::env::current_exe().expect("this program");
    for (name, _) in HOSTILE {
        // In a process of its own, for its peak memory.
        let told = Command::new(&program).arg(name).output().expect("it runs");
        assert!(told.status.success(), "{name} failed");
        print!("{}", String::from_utf8_lossy(&told.stdout));
    }
}

/// Times one hostile file.
fn one(name: &str) {
    let (_, text) = HOSTILE.iter().find(|(known, _)| *known == name).expect("a known name");
    let text = text();
    let start = Instant::now();
    let parsed = parse(&text);
    let parsing = start.elapsed();
    let start = Instant::now();
    let outcome = match parsed {
        Ok(file) => graph(&file).map_or_else(|error| error, |steps| format!("{steps} vertices")),
        Err(errors) => errors[0].message.clone(),
    };
    let lowering = start.elapsed();
    let [parse, lower] = [parsing, lowering].map(|time| time.as_secs_f64() * 1e3);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
    let peak = peak.and_then(|peak| peak.parse::<f64>().ok()).unwrap_or_default() / 1024.0;
    let bytes = text.len();
    println!("{name:<16}{bytes:>10}{parse:>10.1}{lower:>10.1}{peak:>10.0}  {outcome:.60}");
}

/// A name, and what makes the bytes of the file.
type Hostile = (&'static str, fn() -> Vec<u8>);

const HOSTILE: &[Hostile] = &[
    ("nested", || {
        format!("FROM a\nENV A={}x{}\n", "${A:-".repeat(12_000), "}".repeat(12_000)).into()
    }),
    ("long line", || format!("FROM a\nRUN {}\n", "x".repeat(TEN)).into()),
    ("NUL", || [b"FROM a\nRUN ".as_slice(), &vec![0; TEN]].concat()),
    ("no UTF-8", || [b"FROM a\nRUN ".as_slice(), &vec![0xff; TEN]].concat()),
    ("heredoc", || {
        format!("FROM a\nCOPY <<E /x\n{}E\n", "$A text of a line\n".repeat(TEN / 18)).into()
    }),
    ("open heredoc", || format!("FROM a\nRUN <<E\n{}", "text of a line\n".repeat(TEN / 15)).into()),
    ("pairs", || continued("ENV", "a=b ", TEN)),
    ("pairs allowed", || continued("ENV", "a=b ", 2_000_000)),
    ("names allowed", || many("ENV k", "=v\n", 220_000)),
    ("sources allowed", || continued("COPY", "a ", 1_000_000)),
    ("continuations", || format!("FROM a\nRUN a \\\n{}", "x \\\n".repeat(100_000)).into()),
    ("instructions", || format!("FROM a\n{}", "RUN a\n".repeat(1_000_000)).into()),
    ("runs allowed", || format!("FROM a\n{}", "RUN a\n".repeat(250_000)).into()),
    ("stages", || "FROM a\n".repeat(100_000).into()),
    ("named stages", || many("FROM a AS s", "\n", 100_000)),
    ("chained stages", || chained(60_000)),
    ("array", || continued("CMD [\"a\"", ",\"a\"", TEN)),
    ("unknown flags", || continued("RUN", "--x ", 2_000_000)),
    ("triggers", || format!("FROM a AS b\n{}FROM b\n", "ONBUILD ENV A=b\n".repeat(160_000)).into()),
];

/// Ten megabytes.
const TEN: usize = 10_000_000;

/// An instruction of a word again and again, on lines as long as they may be.
fn continued(instruction: &str, word: &str, bytes: usize) -> Vec<u8> {
    let line = format!("{}\\\n", word.repeat(60_000 / word.len()));
    format!("FROM a\n{instruction} {}{word}\n", line.repeat(bytes / line.len())).into()
}

/// Lines that differ by a number.
fn many(before: &str, after: &str, count: usize) -> Vec<u8> {
    let lines = (0..count).map(|number| format!("{before}{number}{after}"));
    format!("FROM a\n{}", lines.collect::<String>()).into()
}

/// Stages on one another.
fn chained(count: usize) -> Vec<u8> {
    let stages = (1..count).map(|stage| format!("FROM s{} AS s{stage}\nLABEL a=b\n", stage - 1));
    format!("FROM a AS s0\n{}", stages.collect::<String>()).into()
}

/// Times a file of a number of lines.
fn row(lines: usize) {
    let text = dockerfile(lines / 10);
    assert_eq!(text.lines().count(), lines);
    let read = || parse(text.as_bytes()).expect("a valid file");
    let parsing = median(|| drop(read()));
    let file = read();
    assert_eq!(file.stages.len(), lines / 10);
    let lowering = median(|| {
        // A copy, a run and a folder for each stage, at least.
        assert!(graph(&file).expect("a valid file") >= 3 * file.stages.len());
    });
    let both = parsing + lowering;
    let [parse, lower, sum] = [parsing, lowering, both].map(|time| time.as_secs_f64() * 1e3);
    let each = both.as_nanos() / lines as u128;
    println!("{:<16}{parse:>10.2}{lower:>10.2}{sum:>10.2}{each:>14}", format!("{lines} lines"));
}

/// Every second stage stands on the one before, the others on an image; each copies from the one
/// before.
fn dockerfile(stages: usize) -> String {
    let mut text = String::new();
    for stage in 0..stages {
        let before = stage.saturating_sub(1);
        let base = if stage % 2 == 1 { format!("s{before}") } else { "alpine:3".to_owned() };
        let from = if stage == 0 { String::new() } else { format!("--from=s{before} ") };
        let _ = write!(
            text,
            "FROM {base} AS s{stage}\n\
             ARG VERSION=1.{stage} TARGETARCH\n\
             ENV PATH=/opt/s{stage}/bin:$PATH HOME=\"/home/${{VERSION}}\"\n\
             LABEL org.example.stage=s{stage}\n\
             WORKDIR /src/s{stage}\n\
             COPY {from}a.txt b/*.c ./\n\
             RUN --mount=type=cache,target=/var/cache/apk \\\n    \
             apk add --no-cache curl \\\n    \
             git make && make VERSION=$VERSION\n\
             CMD [\"serve\", \"--port\", \"80\"]\n"
        );
    }
    text
}

/// Makes the graph, and tells how many vertices it has.
fn graph(file: &Dockerfile) -> Result<usize, String> {
    let request = Request::new();
    let wanted = lower::wanted_images(file, &request, &BTreeMap::new());
    let resolved = |wanted: Wanted| {
        let reference = format!("{}@sha256:{:064}", wanted.reference, 0);
        (wanted, ResolvedImage { reference, config: ImageConfig::scratch(&platform::host()) })
    };
    let wanted = wanted.map_err(|error| error.message)?.into_iter().map(|wanted| wanted.value);
    let images = wanted.map(resolved).collect();
    let lowered = lower::lower(file, &request, &images).map_err(|error| error.message)?;
    Ok(lowered.graph.len())
}

fn median(mut work: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..TURNS)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[TURNS / 2]
}
