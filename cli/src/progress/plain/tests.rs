//! The lines of recorded builds.

use rbuild::{CachedBy, Miss};

use super::super::recorded::{LOOK, Screen, at, changed, draw, failing, log, part, planned};
use super::*;

fn shown(events: &[Event], draws: &[u64], finish: u64) -> String {
    let screen = Screen::default();
    draw(&mut Plain::new(screen.clone(), LOOK), events, draws, finish);
    screen.text()
}

#[test]
fn a_build_that_fails() {
    insta::assert_snapshot!(shown(&failing(), &[100, 200, 300, 400, 500], 1_800), @r#"
    #1 [1/3] FROM docker.io/library/alpine:3
    #1 CACHED

    #2 [internal] load build context
    #2 transferring context: 1.00kB
    #2 transferring context: 12.35kB 0.1s done
    #2 DONE 0.1s

    #3 [2/3] COPY . .
    #3 miss: COPY . . (src/main.rs changed)
    #3 DONE 0.1s

    #4 [other 2/2] RUN sleep 9
    #4 0.206 asleep
    #4 CANCELED

    #5 [3/3] RUN make
    #5 0.100 cc main.c
    #5 0.200 main.c:1: wrong
    #5 WARN: the clock is skewed
    #5 1.500 last words
    #5 ERROR: process "make": exit code: 2
    ------
     > [3/3] RUN make:
    0.100 cc main.c
    0.200 main.c:1: wrong
    1.500 last words
    ------

     1 warning found (use --debug to expand):
     - the clock is skewed
    "#);
}

#[test]
fn nothing_is_lost_when_all_comes_at_once() {
    let all = shown(&failing(), &[], 1_800);
    for line in ["cc main.c", "main.c:1: wrong", "last words", "asleep", "CANCELED", "DONE 0.1s"] {
        assert!(all.contains(line), "{line} in {all}");
    }
}

#[test]
fn what_was_still_at_work_is_shown_when_the_build_is_left() {
    let events = [
        planned(0, "[1/2] RUN a", &[]),
        planned(1, "[2/2] RUN b", &[]),
        at(0, 0, What::Started),
        at(0, 1, What::Started),
        log(50, 0, "one\n"),
        log(60, 1, "two\n"),
    ];
    insta::assert_snapshot!(shown(&events, &[100], 200), @r"
    #1 [1/2] RUN a
    #1 0.050 one
    #1 ...

    #2 [2/2] RUN b
    #2 0.060 two
    ");
}

#[test]
fn a_running_step_keeps_its_place_for_a_while() {
    let mut events = vec![
        planned(0, "[1/2] RUN a", &[]),
        planned(1, "[2/2] RUN b", &[]),
        at(0, 0, What::Started),
        at(0, 1, What::Started),
    ];
    for beat in 1..16 {
        events.push(log(beat * 400, 0, &format!("a{beat}\n")));
        events.push(log(beat * 400, 1, &format!("b{beat}\n")));
    }
    let draws: Vec<_> = (1..64).map(|tenth| tenth * 100).collect();
    insta::assert_snapshot!(shown(&events, &draws, 6_400), @r"
    #1 [1/2] RUN a
    #1 0.400 a1
    #1 0.800 a2
    #1 1.200 a3
    #1 1.600 a4
    #1 2.000 a5
    #1 2.400 a6
    #1 2.800 a7
    #1 3.200 a8
    #1 3.600 a9
    #1 4.000 a10
    #1 4.400 a11
    #1 4.800 a12
    #1 ...

    #2 [2/2] RUN b
    #2 0.400 b1
    #2 0.800 b2
    #2 1.200 b3
    #2 1.600 b4
    #2 2.000 b5
    #2 2.400 b6
    #2 2.800 b7
    #2 3.200 b8
    #2 3.600 b9
    #2 4.000 b10
    #2 4.400 b11
    #2 4.800 b12
    #2 5.200 b13
    #2 5.600 b14
    #2 6.000 b15
    #2 ...

    #1 [1/2] RUN a
    #1 5.200 a13
    #1 5.600 a14
    #1 6.000 a15
    ");
}

#[test]
fn parts_are_shown_now_and_then() {
    let mut events = vec![planned(0, "[1/1] FROM alpine", &[]), at(0, 0, What::Started)];
    for step in 0..=100 {
        let done = step == 100;
        events.push(part(step * 40, 0, "sha256:aa", (step * 34_000, Some(3_400_000)), done));
    }
    events.push(part(4_100, 0, "exporting layers", (0, None), true));
    events.push(at(4_200, 0, What::Finished));
    let all = shown(&events, &[], 5_000);
    assert_eq!(all.lines().filter(|line| line.contains("sha256:aa")).count(), 21);
    assert!(all.contains("#1 sha256:aa 3.40MB / 3.40MB 4.0s done\n"), "{all}");
    assert!(all.ends_with("#1 exporting layers done\n#1 DONE 4.2s\n"), "{all}");
}

#[test]
fn an_unchanged_build_is_short() {
    let events = [
        planned(0, "[1/2] FROM alpine", &[]),
        planned(1, "[2/2] RUN apk add curl", &[0]),
        at(1, 0, What::Cached { by: CachedBy::Definition }),
        at(1, 1, What::Cached { by: CachedBy::Definition }),
        at(1, 1, What::Finished),
    ];
    insta::assert_snapshot!(shown(&events, &[], 2), @r"
    #1 [1/2] FROM alpine
    #1 CACHED

    #2 [2/2] RUN apk add curl
    #2 CACHED
    ");
}

#[test]
fn a_miss_tells_what_changed() {
    let line = |miss: Miss| {
        let events = [planned(0, "[2/2] RUN make", &[]), at(0, 0, What::Missed(miss))];
        shown(&events, &[], 1).lines().skip(1).collect::<String>()
    };
    let files = ["a", "b", "c", "d"].map(changed).into();
    let files = Miss::FilesChanged { files, count: 12 };
    assert_eq!(line(files), "#1 miss: RUN make (a changed, b changed, c changed and 9 more)");
    let (part, old, new) = ("env V".to_owned(), "1".to_owned(), "2".to_owned());
    assert_eq!(
        line(Miss::OpChanged { part, old, new }),
        "#1 miss: RUN make (env V was `1`, is `2`)"
    );
    assert_eq!(line(Miss::BaseChanged), "#1 miss: RUN make (its base changed)");
    assert_eq!(line(Miss::NewInstruction), "");
}

#[test]
fn a_silent_step_gives_its_place_up() {
    let events = [
        planned(0, "[1/2] FROM a", &[]),
        planned(1, "[2/2] RUN b", &[]),
        at(0, 0, What::Started),
        at(10, 1, What::Started),
        log(100, 1, "hello\n"),
    ];
    let screen = Screen::default();
    let mut plain = Plain::new(screen.clone(), LOOK);
    for event in &events {
        plain.event(event);
    }
    plain.draw(Duration::from_millis(100)).unwrap();
    assert!(!screen.text().contains("hello"), "{}", screen.text());
    plain.draw(Duration::from_millis(600)).unwrap();
    assert!(screen.text().ends_with("#2 0.090 hello\n"), "{}", screen.text());
}

#[test]
fn how_a_step_runs_is_told_beside_what_it_writes() {
    let text = "this step runs emulated (qemu-aarch64)".to_owned();
    let events = [
        planned(0, "[linux/arm64 2/2] RUN b", &[]),
        at(10, 0, What::Started),
        at(12, 0, What::Note { text }),
        log(100, 0, "hello\n"),
        at(120, 0, What::Finished),
    ];
    assert_eq!(
        shown(&events, &[], 130),
        "#1 [linux/arm64 2/2] RUN b\n#1 0.002 this step runs emulated (qemu-aarch64)\n\
         #1 0.090 hello\n#1 DONE 0.1s\n"
    );
}
