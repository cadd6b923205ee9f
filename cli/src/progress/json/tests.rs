//! The lines of recorded builds.

use super::super::recorded::{Screen, at, draw, failing, planned};
use super::*;

#[test]
fn a_build_that_fails() {
    let screen = Screen::default();
    let began = Timestamp::from_second(1_700_000_000).expect("in range");
    draw(&mut RawJson::new(screen.clone(), began), &failing(), &[], 1_800);
    let text = screen.text();
    for line in text.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    }
    let chosen: Vec<_> = text.lines().skip(4).step_by(3).collect();
    insta::assert_snapshot!(chosen.join("\n"), @r#"
    {"vertexes":[{"digest":"sha256:4","inputs":["sha256:1"],"name":"[other 2/2] RUN sleep 9"}]}
    {"vertexes":[{"digest":"sha256:1","name":"[1/3] FROM docker.io/library/alpine:3","started":"2023-11-14T22:13:20.003Z","completed":"2023-11-14T22:13:20.003Z","cached":true}]}
    {"misses":[{"vertex":"sha256:2","name":"[2/3] COPY . .","reason":{"FilesChanged":{"files":[{"path":"src/main.rs","change":"changed"}],"count":1}}}]}
    {"vertexes":[{"digest":"sha256:4","inputs":["sha256:1"],"name":"[other 2/2] RUN sleep 9","started":"2023-11-14T22:13:20.124Z"}]}
    {"vertexes":[{"digest":"sha256:3","inputs":["sha256:2"],"name":"[3/3] RUN make","started":"2023-11-14T22:13:20.224Z"}]}
    {"logs":[{"vertex":"sha256:3","stream":1,"data":"bmcKbGFzdCB3b3Jkcw==","timestamp":"2023-11-14T22:13:20.424Z"}]}
    {"vertexes":[{"digest":"sha256:4","inputs":["sha256:1"],"name":"[other 2/2] RUN sleep 9","started":"2023-11-14T22:13:20.124Z","completed":"2023-11-14T22:13:21.73Z","error":"context canceled"}]}
    "#);
}

#[test]
fn how_a_step_runs_is_a_line_of_its_log() {
    let screen = Screen::default();
    let events = [
        planned(0, "RUN b", &[]),
        at(1, 0, What::Started),
        at(2, 0, What::Note { text: "emulated".to_owned() }),
    ];
    draw(&mut RawJson::new(screen.clone(), Timestamp::UNIX_EPOCH), &events, &[], 3);
    let text = screen.text();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["logs"][0]["data"], STANDARD.encode("emulated\n"));
    assert_eq!(last["logs"][0]["stream"], 2);
}
