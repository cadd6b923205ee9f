//! What it costs to read a Dockerfile, and to make the graph of it, as it grows: ten lines to a
//! stage, every stage wanted.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use rbuild::dockerfile::{Dockerfile, parse};
use rbuild::image::ImageConfig;
use rbuild::lower::{self, Request, ResolvedImage, Wanted};
use rbuild::platform;

/// How often each size is timed; the median counts.
const TURNS: usize = 9;

fn main() {
    println!("{:<16}{:>10}{:>10}{:>10}{:>14}", "ms", "parse", "lower", "both", "ns a line");
    for lines in [100, 1_000, 10_000, 100_000] {
        row(lines);
    }
}

/// Times a file of a number of lines.
fn row(lines: usize) {
    let text = dockerfile(lines / 10);
    assert_eq!(text.lines().count(), lines);
    let read = || parse(text.as_bytes()).expect("a valid file");
    let parsing = median(|| drop(read()));
    let file = read();
    assert_eq!(file.stages.len(), lines / 10);
    let lowering = median(|| graph(&file));
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

fn graph(file: &Dockerfile) {
    let request = Request::new();
    let wanted = lower::wanted_images(file, &request, &BTreeMap::new()).expect("a valid file");
    let resolved = |wanted: Wanted| {
        let reference = format!("{}@sha256:{:064}", wanted.reference, 0);
        (wanted, ResolvedImage { reference, config: ImageConfig::scratch(&platform::host()) })
    };
    let images = wanted.into_iter().map(resolved).collect();
    let lowered = lower::lower(file, &request, &images).expect("a valid file");
    // A copy, a run and a folder for each stage, at least.
    assert!(lowered.graph.len() >= 3 * file.stages.len());
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
