//! How numbers and lines are written, the same in every renderer.

use std::time::Duration;

use rustix::stdio::stderr;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::steps::Part;

/// The size that is taken where nothing can be asked.
const USUAL_SIZE: (usize, usize) = (80, 24);

/// Columns and rows of the terminal behind standard error, asked anew each time: it may be
/// resized at any moment.
pub(super) fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            (usize::from(size.ws_col), usize::from(size.ws_row))
        }
        _ => USUAL_SIZE,
    }
}

/// `12B`, `1.05MB`: powers of 1000, two decimals.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count}B");
    }
    #[expect(clippy::cast_precision_loss, reason = "two decimals are shown")]
    let mut amount = count as f64 / 1000.0;
    let mut unit = 0;
    while amount >= 999.995 && unit + 1 < UNITS.len() {
        amount /= 1000.0;
        unit += 1;
    }
    format!("{amount:.2}{}", UNITS[unit])
}

/// The seconds before a line of output, always about five characters wide.
pub(super) fn stamp(at: Duration) -> String {
    let seconds = at.as_secs_f64();
    let decimals = match seconds {
        s if s < 10.0 => 3,
        s if s < 100.0 => 2,
        _ => 1,
    };
    format!("{seconds:.decimals$}")
}

/// `sha256:… 1.05MB / 3.40MB`: the part and how far it is.
pub(super) fn part(part: &Part) -> String {
    let name = &part.name;
    let colon = if name.starts_with("transferring") && !name.ends_with(':') { ":" } else { "" };
    match (part.current, part.total.filter(|total| *total > 0)) {
        (current, Some(total)) => format!("{name}{colon} {} / {}", bytes(current), bytes(total)),
        (0, None) => format!("{name}{colon}"),
        (current, None) => format!("{name}{colon} {}", bytes(current)),
    }
}

/// How long a part has taken, where that is worth a word.
pub(super) fn part_time(part: &Part, now: Duration) -> String {
    let taken = part.ended.unwrap_or(now).saturating_sub(part.started).as_secs_f64();
    if taken > 0.01 { format!(" {taken:.1}s") } else { String::new() }
}

/// What a terminal would show of a line: what stands after the last carriage return, without
/// control characters and escape sequences. A process must not be able to move our cursor.
pub(super) fn visible(line: &str) -> String {
    let line = line.trim_end_matches('\r');
    let line = line.rsplit('\r').next().unwrap_or(line);
    let mut shown = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => skip_escape(&mut characters),
            '\t' => shown.push_str("    "),
            other if other.is_control() => {}
            other => shown.push(other),
        }
    }
    shown
}

/// Passes over what follows an escape character: a control sequence ends with a letter or one of
/// a few signs, an operating system command with a bell or a backslash.
fn skip_escape(characters: &mut std::str::Chars<'_>) {
    match characters.next() {
        Some('[') => {
            characters.find(|character| ('\x40'..='\x7e').contains(character));
        }
        Some(']' | 'P' | '^' | '_') => {
            characters.find(|character| matches!(character, '\x07' | '\\'));
        }
        Some('(' | ')' | '#' | '%') => {
            characters.next();
        }
        _ => {}
    }
}

/// Cuts a text to so many columns; three dots mark the cut.
pub(super) fn cut(text: &str, columns: usize) -> String {
    const DOTS: usize = 3;
    if text.width() <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(DOTS);
    let mut kept = String::new();
    let mut used = 0;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > room {
            break;
        }
        kept.push(character);
    }
    kept.extend(std::iter::repeat_n('.', columns.min(DOTS)));
    kept
}

/// A left and a right text on one line of so many columns.
pub(super) fn justify(left: &str, right: &str, columns: usize) -> String {
    let room = columns.saturating_sub(right.width());
    let left = cut(left, room);
    if right.is_empty() {
        return left;
    }
    let gap = room.saturating_sub(left.width());
    format!("{left}{:gap$}{right}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_two_decimals() {
        let shown = [0, 999, 1000, 1049, 999_994, 999_995, 3_400_000, u64::MAX].map(bytes);
        let expected =
            ["0B", "999B", "1.00kB", "1.05kB", "999.99kB", "1.00MB", "3.40MB", "18.45EB"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn stamps_lose_decimals_as_they_grow() {
        let shown = [1, 9_999, 10_000, 99_990, 123_456].map(|at| stamp(Duration::from_millis(at)));
        assert_eq!(shown, ["0.001", "9.999", "10.00", "99.99", "123.5"]);
    }

    #[test]
    fn a_process_moves_no_cursor() {
        assert_eq!(visible("10%\r50%\r100%\r"), "100%");
        assert_eq!(visible("\x1b[31mred\x1b[0m \x1b[2Agone\x1b]0;title\x07."), "red gone.");
        assert_eq!(visible("a\tb\x08\x1b"), "a    b");
        assert_eq!(visible("\x1b["), "");
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(cut("日本語テキスト", 9), "日本語...");
        assert_eq!(cut("plain", 5), "plain");
        assert_eq!(cut("plain", 2), "..");
        assert_eq!(justify("ab", "1.0s", 10), "ab    1.0s");
        assert_eq!(justify("abcdefghij", "1.0s", 10), "abc...1.0s");
    }
}
