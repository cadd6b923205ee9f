//! Docker's grammar, case by case.

use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[track_caller]
fn check(text: &str, canonical: &str, familiar: &str) {
    let reference: Reference = text.parse().unwrap();
    assert_eq!(reference.to_string(), canonical);
    assert_eq!(reference.familiar(), familiar);
    assert_eq!(canonical.parse::<Reference>().unwrap(), reference);
}

#[test]
fn what_people_leave_out_is_filled_in() {
    check("alpine", "docker.io/library/alpine:latest", "alpine:latest");
    check("alpine:3", "docker.io/library/alpine:3", "alpine:3");
    check("library/alpine", "docker.io/library/alpine:latest", "alpine:latest");
    check("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest");
    check("index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest");
    check("me/tool", "docker.io/me/tool:latest", "me/tool:latest");
    check("docker.io/a/b/c:1", "docker.io/a/b/c:1", "a/b/c:1");
    check("localhost", "docker.io/library/localhost:latest", "localhost:latest");
    check("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000");
    check("localhost/x", "localhost/x:latest", "localhost/x:latest");
    check("localhost:5000/x", "localhost:5000/x:latest", "localhost:5000/x:latest");
    check("127.0.0.1:5100/a/b:c", "127.0.0.1:5100/a/b:c", "127.0.0.1:5100/a/b:c");
    check("Registry/x", "Registry/x:latest", "Registry/x:latest");
    check(
        "nvcr.io/nvidia/l4t-base:r36",
        "nvcr.io/nvidia/l4t-base:r36",
        "nvcr.io/nvidia/l4t-base:r36",
    );
    check("[::1]:5000/x:y", "[::1]:5000/x:y", "[::1]:5000/x:y");
    check(
        "a__b/c-d/e--f/g.h_i",
        "docker.io/a__b/c-d/e--f/g.h_i:latest",
        "a__b/c-d/e--f/g.h_i:latest",
    );
    check(
        "docker.io/library/localhost/x",
        "docker.io/library/localhost/x:latest",
        "library/localhost/x:latest",
    );
}

#[test]
fn a_digest_needs_no_tag_and_keeps_one() {
    let canonical = format!("docker.io/library/alpine@sha256:{HEX}");
    check(&format!("alpine@sha256:{HEX}"), &canonical, &format!("alpine@sha256:{HEX}"));
    let both: Reference = format!("alpine:3@sha256:{HEX}").parse().unwrap();
    assert_eq!(both.tag(), Some("3"));
    assert_eq!(both.wanted(), format!("sha256:{HEX}"));
    assert_eq!(both.with_tag("4").unwrap().to_string(), "docker.io/library/alpine:4");
    let pinned = both.with_tag("4").unwrap().with_digest(&format!("sha256:{HEX}")).unwrap();
    assert_eq!(pinned.familiar(), format!("alpine:4@sha256:{HEX}"));
}

#[test]
fn what_is_no_reference_is_refused() {
    let long = "a".repeat(240);
    let tag = "t".repeat(129);
    let cases = ": / @ a/ /a a//b a: :a a@ Alpine a/B -a a- a..b a___b a.-b a:b:c a:-b a:.b é a/é http://a/b a.b:port/x a.b:99999/x a.b:+80/x -a.b/x a.b-/x [::1/x [::1]x/y [zz]/x .a/x a..b/x a/../b a.b/.. a.b/x%2f a.b/x?y a.b/x#y user@host/x";
    let cases = cases.split(' ').chain(["", "a b", "a\n", HEX]);
    for case in cases {
        assert!(case.parse::<Reference>().is_err(), "{case}");
    }
    for case in [
        format!("a.b/{long}/{long}"),
        format!("a:{tag}"),
        format!("a@sha256:{}", &HEX[1..]),
        format!("a@sha256:{}", HEX.to_uppercase()),
        format!("a@md5:{}", &HEX[..32]),
        format!("a@sha256:{HEX}@sha256:{HEX}"),
    ] {
        assert!(case.parse::<Reference>().is_err(), "{case}");
    }
    let longest = format!("a.b/{}", "a".repeat(251));
    assert!(longest.parse::<Reference>().is_ok());
    assert!(format!("{longest}a").parse::<Reference>().is_err());
}

#[test]
fn random_text_never_panics_and_what_parses_parses_again() {
    const LETTERS: &[char] =
        &['a', 'Z', '0', '.', '_', '-', ':', '/', '@', '[', ']', 'é', ' ', '\0'];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    let mut parsed = 0;
    for _ in 0..40_000 {
        let length = next(9);
        let text: String = (0..length).map(|_| LETTERS[next(LETTERS.len())]).collect();
        if let Ok(reference) = text.parse::<Reference>() {
            parsed += 1;
            assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference, "{text}");
            assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference, "{text}");
        }
    }
    assert!(parsed > 50, "{parsed}");
}
