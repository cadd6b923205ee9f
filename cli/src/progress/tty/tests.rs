//! The pictures of recorded builds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rbuild::What;

use super::super::recorded::{LOOK, Screen, at, draw, failing, log, planned};
use super::*;

fn shown(events: &[Event], look: Look, size: (usize, usize), draws: &[u64]) -> String {
    let screen = Screen::default();
    draw(&mut Tty::new(screen.clone(), look, move || size), events, draws, 1_800);
    screen.text()
}

#[test]
fn the_last_picture_of_a_build_that_fails() {
    insta::assert_snapshot!(shown(&failing(), LOOK, (60, 24), &[]), @r"
    ^M^[[J[+] Building 1.8s (5/5) FINISHED
     => [internal] load build context                      0.1s
     => => transferring context: 12.35kB                   0.1s
     => CACHED [1/3] FROM docker.io/library/alpine:3       0.0s
     => [2/3] COPY . .                                     0.1s
     => => miss: COPY . . (src/main.rs changed)
     => CANCELED [other 2/2] RUN sleep 9                   1.6s
     => ERROR [3/3] RUN make                               1.5s
    ------
     > [3/3] RUN make:
    0.100 cc main.c
    0.200 main.c:1: wrong
    1.500 last words
    ------

     1 warning found (use --debug to expand):
     - the clock is skewed
    ");
}

#[test]
fn a_picture_takes_the_place_of_the_last() {
    let all = shown(&failing(), LOOK, (60, 24), &[324, 430]);
    insta::assert_snapshot!(all.split("^[[J").nth(2).unwrap_or_default(), @r"
    [+] Building 0.4s (3/5)
     => [internal] load build context                      0.1s
     => => transferring context: 12.35kB                   0.1s
     => CACHED [1/3] FROM docker.io/library/alpine:3       0.0s
     => [2/3] COPY . .                                     0.1s
     => => miss: COPY . . (src/main.rs changed)
     => [other 2/2] RUN sleep 9                            0.3s
     => => # asleep
     => [3/3] RUN make                                     0.2s
     => => # cc main.c
     => => # main.c:1: wrong
    ^[[11A^M
    ");
}

#[test]
fn colours_tell_how_a_step_ended() {
    let all = shown(&failing(), Look { colour: true, ..LOOK }, (60, 24), &[]);
    assert!(all.contains("^[[31m => ERROR [3/3] RUN make"), "{all}");
    assert!(all.contains("^[[34m => CACHED [1/3] FROM"), "{all}");
    assert!(all.contains("^[[33m => CANCELED [other 2/2]"), "{all}");
}

#[test]
fn a_low_terminal_drops_what_has_ended() {
    let screen = Screen::default();
    let mut tty = Tty::new(screen.clone(), LOOK, || (60, 6));
    failing().iter().take(20).for_each(|event| tty.event(event));
    tty.draw(Duration::from_millis(500)).unwrap();
    insta::assert_snapshot!(screen.text(), @r"
    ^M^[[J[+] Building 0.5s (3/5)
     => [other 2/2] RUN sleep 9                            0.4s
     => [3/3] RUN make                                     0.3s
     => => # main.c:1: wrong
    ");
}

#[test]
fn a_terminal_made_narrower_has_broken_the_lines() {
    let columns = Arc::new(AtomicUsize::new(80));
    let screen = Screen::default();
    let size = {
        let columns = Arc::clone(&columns);
        move || (columns.load(Ordering::Relaxed), 24)
    };
    let mut tty = Tty::new(screen.clone(), LOOK, size);
    tty.event(&planned(0, "[1/1] RUN sleep", &[]));
    tty.event(&at(0, 0, What::Started));
    tty.draw(Duration::from_millis(1)).unwrap();
    columns.store(30, Ordering::Relaxed);
    tty.draw(Duration::from_millis(2)).unwrap();
    // The head fits into one row of 30; the line of 79 columns now takes three.
    assert!(screen.text().contains("^[[4A"), "{}", screen.text());
}

#[test]
fn only_the_last_lines_of_output_are_shown() {
    let mut events = vec![planned(0, "[1/1] RUN x", &[]), at(0, 0, What::Started)];
    events.extend((0..9).map(|line| log(1, 0, &format!("line \x1b[2J{line}\n"))));
    let look = Look { log_lines: 2, ..LOOK };
    let all = shown(&events, look, (60, 24), &[]);
    let lines: Vec<_> = all.lines().filter(|line| line.contains("=> #")).map(str::trim).collect();
    assert_eq!(lines, ["=> => # line 7", "=> => # line 8"]);
}
