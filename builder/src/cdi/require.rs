//! What images of NVIDIA's ask of the driver: `NVIDIA_REQUIRE_CUDA=cuda>=12.0 brand=tesla,driver>=470`.

use std::cmp::Ordering;

/// What begins the names of the variables.
const PREFIX: &str = "NVIDIA_REQUIRE_";
/// Of these, what says something else than what is required.
const OTHER: &str = "NVIDIA_REQUIRE_JETPACK";
/// Turns all of it off.
const OFF: &str = "NVIDIA_DISABLE_REQUIRE";
/// The first branch of the driver that has a version of CUDA.
const VERSIONS: [(u32, &str); 24] = [
    (396, "9.2"),
    (410, "10.0"),
    (418, "10.1"),
    (440, "10.2"),
    (450, "11.0"),
    (455, "11.1"),
    (460, "11.2"),
    (465, "11.3"),
    (470, "11.4"),
    (495, "11.5"),
    (510, "11.6"),
    (515, "11.7"),
    (520, "11.8"),
    (525, "12.0"),
    (530, "12.1"),
    (535, "12.2"),
    (545, "12.3"),
    (550, "12.4"),
    (555, "12.5"),
    (560, "12.6"),
    (565, "12.7"),
    (570, "12.8"),
    (575, "12.9"),
    (580, "13.0"),
];
/// Two characters come before the one that they begin with.
const SIGNS: [&str; 6] = [">=", "<=", "!=", "=", ">", "<"];

/// Checks what the variables of a container require of a driver of this version.
///
/// What is not known, such as the brand of a device, is let pass, as is a condition that nobody
/// understands.
///
/// # Errors
/// The variable's value, and what the driver has, in words.
pub(super) fn check(env: &[String], driver: Option<&str>) -> Result<(), String> {
    let pairs = || env.iter().filter_map(|line| line.split_once('='));
    let is_off = |value: &str| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True");
    if pairs().any(|(name, value)| name == OFF && is_off(value)) {
        return Ok(());
    }
    for (name, value) in pairs().filter(|(name, _)| name.starts_with(PREFIX) && *name != OTHER) {
        // A space is "or", a comma is "and".
        let mut ways = value.split_whitespace().peekable();
        if ways.peek().is_some() && !ways.any(|way| way.split(',').all(|one| holds(one, driver))) {
            let has = match (driver, driver.and_then(cuda)) {
                (Some(driver), Some(cuda)) => format!("the driver {driver} has CUDA {cuda}"),
                _ => "the driver is another one".to_owned(),
            };
            return Err(format!("unsatisfied condition: {name}={value}, and {has}"));
        }
    }
    Ok(())
}

fn holds(condition: &str, driver: Option<&str>) -> bool {
    let found = SIGNS.iter().find_map(|sign| Some((*sign, condition.split_once(sign)?)));
    let Some((sign, (name, wanted))) = found else {
        tracing::warn!(condition, "it is not known what an image requires");
        return true;
    };
    let value = match name {
        "driver" => driver,
        "cuda" => driver.and_then(cuda),
        _ => None,
    };
    let Some(value) = value else {
        tracing::warn!(condition, "it is not known whether the machine has what an image requires");
        return true;
    };
    let order = compare(value, wanted);
    match sign {
        ">=" => order.is_ge(),
        "<=" => order.is_le(),
        "!=" => order.is_ne(),
        ">" => order.is_gt(),
        "<" => order.is_lt(),
        _ => order.is_eq(),
    }
}

/// The version of CUDA that a driver has; none where it is newer than what is known.
fn cuda(driver: &str) -> Option<&'static str> {
    let branch: u32 = driver.split('.').next()?.parse().ok()?;
    let (last, _) = VERSIONS.last()?;
    // The one after the last that is known may have any later version.
    if branch >= last + 10 {
        return None;
    }
    VERSIONS.iter().rfind(|(first, _)| *first <= branch).map(|(_, version)| *version)
}

/// Compares versions, number by number; of one that is longer the rest counts against zeros.
fn compare(one: &str, other: &str) -> Ordering {
    let numbers = |text: &str| -> Vec<u64> {
        text.trim().split('.').map(|part| part.parse().unwrap_or_default()).collect()
    };
    let (mut one, mut other) = (numbers(one), numbers(other));
    let length = one.len().max(other.len());
    one.resize(length, 0);
    other.resize(length, 0);
    one.cmp(&other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(value: &str, driver: &str) -> Result<(), String> {
        check(&[format!("NVIDIA_REQUIRE_CUDA={value}")], Some(driver))
    }

    #[test]
    fn spaces_are_alternatives_and_commas_are_not() {
        for (value, driver, holds) in [
            ("cuda>=12.0", "525.60.13", true),
            ("cuda>=12.0", "515.65.01", false),
            ("cuda>=12.6 brand=tesla,driver>=470,driver<471", "470.57.02", true),
            ("cuda>=12.6 brand=tesla,driver>=470,driver<471", "471.1", false),
            ("cuda>=12.6 driver>=535,driver<536", "560.28", true),
            ("driver>=535.104.5", "535.104.05", true),
            ("driver>535.104", "535.104.05", true),
            ("driver!=535", "535.0.0", false),
            ("cuda<12", "470.57.02", true),
            ("cuda=11.4", "470.57.02", true),
            ("arch>=9.0", "470.57.02", true),
            ("what", "470.57.02", true),
            ("", "470.57.02", true),
            // Newer than anything that is known here.
            ("cuda>=99.0", "999.88.77", true),
        ] {
            assert_eq!(checked(value, driver).is_ok(), holds, "{value} with {driver}");
        }
        let told = checked("cuda>=13.0", "535.104.05").unwrap_err();
        assert!(told.contains("cuda>=13.0") && told.contains("535.104.05 has CUDA 12.2"), "{told}");
    }

    #[test]
    fn what_is_no_requirement_is_none() {
        let env = |more: &str| vec!["NVIDIA_REQUIRE_CUDA=cuda>=13.0".to_owned(), more.to_owned()];
        let old = Some("470.57.02");
        assert!(check(&env("NVIDIA_DISABLE_REQUIRE=true"), old).is_ok());
        assert!(check(&env("NVIDIA_DISABLE_REQUIRE=0"), old).is_err());
        assert!(check(&env("A=1"), None).is_ok(), "the driver is not known");
        let jetpack = ["NVIDIA_REQUIRE_JETPACK=csv-mounts=all".to_owned()];
        assert!(check(&jetpack, old).is_ok());
    }
}
