//! What of an image is fetched for a file of it.

use rbuild_testkit::Home;
use serde_json::Value;

use crate::home;

/// The layers of an image in a registry, lowest first.
fn layers(home: &Home) -> Vec<String> {
    let manifest = home.registry.manifest("tools", "latest").unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_file_of_the_upper_layers_of_a_large_image_is_fetched_without_the_lower_ones() {
    let first = home();
    let host = first.registry.host();
    first.write(
        "app/Dockerfile",
        "FROM busybox\nRUN head -c 6000000 /dev/urandom >/large; echo low >/both; echo low >/gone; \
         mkdir /folder; echo low >/folder/low\n\
         RUN echo high >/both; rm /gone; echo high >/folder/high; ln -s both /link\n\
         RUN echo top >/top\n",
    );
    first.types(&format!("rbuild -t {host}/tools --push app")).ok();
    let layers = layers(&first);
    assert_eq!(layers.len(), 4);
    // Which layers, from the lowest on, are fetched for what, and what is copied.
    let cases = [
        ("/top", vec![3], "top"),
        ("/top /both", vec![2, 3], "high\ntop"),
        ("/folder/high", vec![2, 3], "high"),
        ("/folder", vec![0, 1, 2, 3], "high\nlow"),
        ("/link", vec![0, 1, 2, 3], "high"),
        ("/to*", vec![0, 1, 2, 3], "top"),
        ("/large", vec![0, 1, 2, 3], ""),
    ];
    for (paths, expected, text) in cases {
        first.registry.forget_requests();
        let second = home();
        let stage = format!("FROM scratch\nCOPY --from={host}/tools {paths} /out/\n");
        second.write("app/Dockerfile", stage);
        second.types("rbuild -q -o result app").ok();
        let is_fetched = |layer: &String| {
            let of = |request: &String| request.starts_with("GET") && request.contains(layer);
            first.registry.requests().iter().any(of)
        };
        let fetched: Vec<usize> = (0..4).filter(|number| is_fetched(&layers[*number])).collect();
        assert_eq!(fetched, expected, "{paths}");
        if !text.is_empty() {
            assert_eq!(
                second.types("cd result/out && cat $(ls | head -n 2)").ok(),
                text,
                "{paths}"
            );
        }
        assert!(!second.path("result/out/large").exists() || paths == "/large");
        // What was left out is there when it is needed.
        second.write("app/Dockerfile", format!("FROM {host}/tools\nRUN cat /top /both\n"));
        second.types("rbuild -q app").ok();
    }
    first.registry.forget_requests();
    let second = home();
    second.write("app/Dockerfile", format!("FROM scratch\nCOPY --from={host}/tools /gone /\n"));
    let error = second.types("rbuild app").fails(1);
    assert!(error.contains("gone"), "{error}");
}
