//! Which results to drop when the disk is short: the least valuable first. Pure.

/// What is known of one thing that may be dropped.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Candidate {
    /// What dropping it frees, in bytes.
    pub(crate) bytes: u64,
    /// What it is worth by itself: see [`value`].
    pub(crate) value: f64,
    /// All that it stands on, by index: without these nobody finds it any more.
    pub(crate) below: Vec<usize>,
    /// Whether it stays in any case, and with it all that it stands on.
    pub(crate) stays: bool,
}

/// What a result is worth: the time to make it again for each byte, the less the longer ago it was
/// used last.
///
/// This ranks as "hyperbolic caching" does: what is used often keeps its worth since it never gets
/// old, and a costly result outlives a cheap one of the same age.
pub(crate) fn value(cost_ms: u64, bytes: u64, idle_seconds: i64) -> f64 {
    /// Below these, results differ by chance.
    const BYTES: u64 = 4096;
    const SECONDS: i64 = 60;
    #[expect(clippy::cast_precision_loss, reason = "only the order counts")]
    let parts = [
        cost_ms.saturating_add(1) as f64,
        bytes.saturating_add(BYTES) as f64,
        idle_seconds.max(0).saturating_add(SECONDS) as f64,
    ];
    parts[0] / parts[1] / parts[2]
}

/// Chooses what to drop, in the order in which to drop it, until `need` bytes are free.
///
/// Nothing that stays is chosen, nor anything on which something stands that is not dropped
/// before it. What others stand on is worth at least what they are.
pub(crate) fn choose(candidates: &[Candidate], need: u64) -> Vec<usize> {
    let mut stays: Vec<bool> = candidates.iter().map(|candidate| candidate.stays).collect();
    let mut values: Vec<f64> = candidates.iter().map(|candidate| candidate.value).collect();
    for candidate in candidates {
        for &below in &candidate.below {
            stays[below] |= candidate.stays;
            values[below] = values[below].max(candidate.value);
        }
    }
    let mut order: Vec<usize> = (0..candidates.len()).filter(|&index| !stays[index]).collect();
    // Of a chain that is worth the same all the way down, the top goes first.
    order.sort_by(|&a, &b| {
        let height = |index: usize| candidates[index].below.len();
        values[a].total_cmp(&values[b]).then(height(b).cmp(&height(a))).then(a.cmp(&b))
    });
    let mut freed = 0_u64;
    let is_needed = |&index: &usize| {
        let is_needed = freed < need;
        freed = freed.saturating_add(candidates[index].bytes);
        is_needed
    };
    order.into_iter().take_while(is_needed).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(bytes: u64, value: f64, below: &[usize], stays: bool) -> Candidate {
        Candidate { bytes, value, below: below.to_vec(), stays }
    }

    #[test]
    fn the_least_valuable_goes_first_and_no_more_than_needed() {
        let all = [one(10, 3.0, &[], false), one(10, 1.0, &[], false), one(10, 2.0, &[], false)];
        assert!(choose(&all, 0).is_empty());
        assert_eq!(choose(&all, 1), [1]);
        assert_eq!(choose(&all, 11), [1, 2]);
        assert_eq!(choose(&all, u64::MAX), [1, 2, 0]);
    }

    #[test]
    fn what_a_valuable_result_stands_on_goes_after_it() {
        // A cheap base with a costly step on it, and a result that is worth a little.
        let all = [one(10, 1.0, &[], false), one(10, 9.0, &[0], false), one(10, 2.0, &[], false)];
        assert_eq!(choose(&all, 1), [2]);
        assert_eq!(choose(&all, u64::MAX), [2, 1, 0]);
        // Where the costly step stays, so does its base.
        let all = [one(10, 1.0, &[], false), one(10, 9.0, &[0], true), one(10, 2.0, &[], false)];
        assert_eq!(choose(&all, u64::MAX), [2]);
    }

    #[test]
    fn time_to_make_size_and_age_are_its_worth() {
        let base = value(1000, 1 << 20, 3600);
        assert!(value(2000, 1 << 20, 3600) > base);
        assert!(value(1000, 2 << 20, 3600) < base);
        assert!(value(1000, 1 << 20, 7200) < base);
        assert!(value(0, 0, -5).is_finite() && value(u64::MAX, u64::MAX, i64::MAX) > 0.0);
    }

    /// Chains as layers have them: each stands on one earlier candidate and all that is below it.
    fn forests() -> impl Strategy<Value = Vec<Candidate>> {
        let plain = (0_u64..100, 0_u8..5, any::<bool>(), 0_u8..6, any::<prop::sample::Index>());
        prop::collection::vec(plain, 0..40).prop_map(|all| {
            let mut candidates: Vec<Candidate> = Vec::new();
            for (bytes, value, on_another, stays, which) in all {
                let mut below = Vec::new();
                if on_another && !candidates.is_empty() {
                    let parent = which.index(candidates.len());
                    below.clone_from(&candidates[parent].below);
                    below.push(parent);
                }
                candidates.push(one(bytes, f64::from(value), &below, stays == 0));
            }
            candidates
        })
    }

    proptest! {
        #[test]
        fn no_choice_harms(all in forests(), need in 0_u64..2000) {
            let chosen = choose(&all, need);
            for (place, &index) in chosen.iter().enumerate() {
                prop_assert!(!all[index].stays);
                for (above, candidate) in all.iter().enumerate() {
                    if candidate.below.contains(&index) {
                        let before = chosen[..place].contains(&above);
                        prop_assert!(before, "{index} goes before {above}, which stands on it");
                    }
                }
            }
            let bytes = |chosen: &[usize]| chosen.iter().map(|&i| all[i].bytes).sum::<u64>();
            let freed = bytes(&chosen);
            if let Some((_, but_the_last)) = chosen.split_last() {
                prop_assert!(bytes(but_the_last) < need, "the last one was not needed");
            }
            if freed < need {
                // Then all went that could go.
                let stays = |index: usize| {
                    all[index].stays || all.iter().any(|c| c.stays && c.below.contains(&index))
                };
                let rest = (0..all.len()).filter(|index| !chosen.contains(index));
                for index in rest {
                    prop_assert!(stays(index), "{index} could go");
                }
            }
        }

        #[test]
        fn what_goes_is_worth_no_more_than_what_stays(all in forests(), need in 0_u64..2000) {
            let chosen = choose(&all, need);
            let worth = |index: usize| {
                let above = all.iter().filter(|c| c.below.contains(&index)).map(|c| c.value);
                above.fold(all[index].value, f64::max)
            };
            let stays = |index: usize| {
                all[index].stays || all.iter().any(|c| c.stays && c.below.contains(&index))
            };
            for index in (0..all.len()).filter(|i| !chosen.contains(i) && !stays(*i)) {
                prop_assert!(chosen.iter().all(|&gone| worth(gone) <= worth(index)));
            }
        }
    }
}
