//! Tables, sizes and times as people know them from docker.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

/// The narrowest column, and the gap after the widest cell of one.
const NARROWEST: usize = 10;
const GAP: usize = 3;

/// Writes rows of cells as columns; the last column is not padded.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.width() + GAP).max().unwrap_or(0).max(NARROWEST)
    };
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let gap = widths[column].saturating_sub(cell.width());
                let _ = write!(text, "{:gap$}", "");
            }
        }
        text.push('\n');
    }
    text
}

/// `7.8MB`: powers of 1000, three significant digits, no zeros at the end.
pub(crate) fn size(bytes: u64) -> String {
    // 999.5 would be shown as 1000 of the smaller unit.
    scaled(bytes, 1000.0, 999.5, ["B", "kB", "MB", "GB", "TB", "PB", "EB"], 3)
}

/// `1.952MiB`: powers of 1024, four significant digits, no zeros at the end.
pub(crate) fn binary_size(bytes: u64) -> String {
    scaled(bytes, 1024.0, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"], 4)
}

/// A number in the first unit in which it is less than `most`, with so many significant digits.
fn scaled(bytes: u64, step: f64, most: f64, units: [&str; 7], digits: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= most && unit + 1 < units.len() {
        amount /= step;
        unit += 1;
    }
    // As many decimals as leave that many digits once the number is rounded.
    let whole = |decimals: &usize| {
        let text = format!("{amount:.decimals$}");
        text.split('.').next().map_or(0, str::len) + decimals <= digits
    };
    let decimals = (0..digits).rev().find(whole).unwrap_or(0);
    let text = format!("{amount:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", units[unit])
}

/// `About a minute`, `3 weeks`: a span of seconds in one unit.
pub(crate) fn span(seconds: i64) -> String {
    let seconds = seconds.max(0);
    let minutes = seconds / 60;
    let hours = (seconds + 1800) / 3600;
    let many = |count: i64, unit: &str| format!("{count} {unit}");
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => many(seconds, "seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => many(minutes, "minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (.., ..48) => many(hours, "hours"),
        (.., hours) => long_span(hours),
    }
}

/// Two days and more. A unit begins where there are two of it, so that none is spoken of as one.
fn long_span(hours: i64) -> String {
    const DAY: i64 = 24;
    const WEEK: i64 = 7 * DAY;
    const MONTH: i64 = 30 * DAY;
    const YEAR: i64 = 365 * DAY;
    let (length, unit) = match hours {
        h if h < 2 * WEEK => (DAY, "days"),
        h if h < 2 * MONTH => (WEEK, "weeks"),
        h if h < 2 * YEAR => (MONTH, "months"),
        _ => (YEAR, "years"),
    };
    format!("{} {unit}", hours / length)
}

/// `2 minutes ago`.
pub(crate) fn ago(then: i64, now: i64) -> String {
    format!("{} ago", span(now - then))
}

/// Cuts a text to so many characters, the last of them `…`.
pub(crate) fn shorten(text: &str, characters: usize) -> String {
    if text.chars().count() <= characters {
        return text.to_owned();
    }
    text.chars().take(characters.saturating_sub(1)).chain(['…']).collect()
}

/// The first twelve digits of an id, without the name of its algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    const DIGITS: usize = 12;
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..DIGITS).unwrap_or(digits)
}

/// `2026-11-24 08:31:33 +0000 UTC`, for `{{.CreatedAt}}`.
pub(crate) fn time(seconds: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_second(seconds) else {
        return String::new();
    };
    time.to_zoned_datetime(jiff::tz::TimeZone::system())
        .strftime("%Y-%m-%d %H:%M:%S %z %Z")
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_docker_makes_them() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["REPOSITORY", "TAG", "SIZE"]), row(["alpine", "latest", "8.3MB"])];
        insta::assert_snapshot!(table(&rows), @r"
        REPOSITORY   TAG       SIZE
        alpine       latest    8.3MB
        ");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn sizes_have_three_digits() {
        let shown =
            [0, 1, 999, 1000, 7_800_000, 8_317_000, 128_400_000, 999_499, 999_500].map(size);
        let expected = ["0B", "1B", "999B", "1kB", "7.8MB", "8.32MB", "128MB", "999kB", "1MB"];
        assert_eq!(shown, expected);
        assert_eq!(size(1_999_000_000), "2GB");
        assert_eq!(size(u64::MAX), "18.4EB");
    }

    #[test]
    fn binary_sizes_have_four_digits() {
        let shown = [0, 1023, 1024, 2_047_000, 500 << 20, 3 << 30].map(binary_size);
        assert_eq!(shown, ["0B", "1023B", "1KiB", "1.952MiB", "500MiB", "3GiB"]);
    }

    #[test]
    fn spans_have_one_unit() {
        let table = [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3_599, "59 minutes"),
            (3_600, "About an hour"),
            (5_399, "About an hour"),
            (5_400, "2 hours"),
            (47 * 3_600, "47 hours"),
            (48 * 3_600, "2 days"),
            (13 * 86_400, "13 days"),
            (14 * 86_400, "2 weeks"),
            (59 * 86_400, "8 weeks"),
            (60 * 86_400, "2 months"),
            (729 * 86_400, "24 months"),
            (730 * 86_400, "2 years"),
        ];
        for (seconds, expected) in table {
            assert_eq!(span(seconds), expected, "{seconds}");
        }
        assert_eq!(ago(100, 220), "2 minutes ago");
    }

    #[test]
    fn long_things_are_cut() {
        assert_eq!(shorten("\"/bin/sh -c 'sleep 1'\"", 20), "\"/bin/sh -c 'sleep …");
        assert_eq!(shorten("ä", 1), "ä");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("abc"), "abc");
    }
}
