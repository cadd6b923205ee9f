//! What to do about an error: the nearest name, and the texts that several places need.

/// The form of a `# check=`.
pub(super) const CHECK: &str = "the form is `# check=skip=Rule1,Rule2;error=true`";

/// Where much text may stand.
pub(super) const WORDS: &str = "put large data into a file that is copied, or into a heredoc";

/// The longest word that is compared: nothing that long is a slip of the finger.
const LONGEST: usize = 40;

/// Returns the candidate that a misspelt word is nearest to, when one is near.
fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    let length = word.chars().count();
    // Of a single letter nothing is left that could be near.
    let limit = (length / 3).clamp(1, 3).min(length.saturating_sub(1));
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (distance(&lower, &candidate.to_ascii_lowercase()), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Returns the hint that names the nearest candidate.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// Counts the letters to add, drop, replace or swap with the next to get from one to the other.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                let swapped =
                    i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
                let swap = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(swap)
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_of_the_finger_and_nothing_else() {
        let names = ["RUN", "COPY", "ENTRYPOINT"];
        assert_eq!(nearest("RNU", names), Some("RUN"));
        assert_eq!(nearest("copyy", names), Some("COPY"));
        assert_eq!(nearest("ENTRPYOINT", names), Some("ENTRYPOINT"));
        assert_eq!(nearest("apt-get", names), None);
        assert_eq!(nearest("U", ["G", "GG"]), None);
        assert_eq!(nearest(&"x".repeat(100_000), names), None);
    }
}
