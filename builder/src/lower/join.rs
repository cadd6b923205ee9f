//! One graph for several platforms: what is the same for all of them is in it once.

use std::collections::HashMap;

use rbuild_solver::{Edge, Vertex, VertexId, Work};

use super::Lowered;

/// Puts the graphs of one Dockerfile for several platforms together. A vertex that equals one of an
/// earlier platform, with all that feeds it, is that one: a stage of `$BUILDPLATFORM` that reads no
/// variable of the target is built once. Without any graph there is none.
pub fn join(all: Vec<Lowered>) -> Option<Lowered> {
    all.into_iter().reduce(add)
}

fn add(mut joined: Lowered, next: Lowered) -> Lowered {
    let mut known: HashMap<Work, VertexId> = HashMap::new();
    for (id, vertex) in joined.graph.iter() {
        known.entry(vertex.work.clone()).or_insert(id);
    }
    let mut places = Vec::with_capacity(next.graph.len());
    for (_, vertex) in next.graph.iter() {
        let work = moved(&vertex.work, &places);
        // Two equal steps of one platform stay two, as they are where there is no other.
        let place = known.get(&work).copied().unwrap_or_else(|| {
            let vertex = Vertex { work, ..vertex.clone() };
            joined.graph.add(vertex).expect("whatever feeds a vertex was added before it")
        });
        places.push(place);
    }
    for mut target in next.targets {
        target.root = places[target.root.index()];
        joined.targets.push(target);
    }
    for (name, patterns) in next.folders {
        joined.folders.entry(name).or_default().extend(patterns);
    }
    for (image, step) in next.images {
        if !joined.images.iter().any(|(known, _)| *known == image) {
            joined.images.push((image, step));
        }
    }
    for (place, span) in next.spans {
        joined.spans.entry(place).or_insert(span);
    }
    for warning in next.warnings {
        if !joined.warnings.contains(&warning) {
            joined.warnings.push(warning);
        }
    }
    joined.warnings.sort_by_key(|warning| warning.span.start);
    Lowered { strict: joined.strict || next.strict, ..joined }
}

/// The work of a vertex whose inputs are at other places.
fn moved(work: &Work, places: &[VertexId]) -> Work {
    let mut work = work.clone();
    if let Work::Op { inputs, .. } = &mut work {
        for Edge { vertex, .. } in inputs {
            *vertex = places[vertex.index()];
        }
    }
    work
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::{Request, ResolvedImage, lower, wanted_images};
    use super::*;
    use crate::dockerfile::parse;
    use crate::image::ImageConfig;
    use crate::platform;

    /// The names of the steps that a file makes for these platforms, on linux/amd64.
    fn steps(text: &str, platforms: &[&str]) -> (Lowered, Vec<String>) {
        let file = parse(text.as_bytes()).expect("a valid file");
        let one = |wanted: &&str| {
            let request = Request {
                platform: platform::parse(wanted).unwrap(),
                platform_chosen: true,
                several_platforms: platforms.len() > 1,
                host: platform::parse("linux/amd64").unwrap(),
                ..Request::new()
            };
            let images = wanted_images(&file, &request, &BTreeMap::new()).unwrap();
            let images = images.into_iter().map(|wanted| {
                let platform = platform::parse(&wanted.value.platform).unwrap();
                let config = ImageConfig::scratch(&platform);
                let reference = wanted.value.reference.clone();
                (wanted.value, ResolvedImage { reference, config })
            });
            lower(&file, &request, &images.collect()).unwrap()
        };
        let joined = join(platforms.iter().map(one).collect()).unwrap();
        let shown = joined.graph.iter().filter(|(_, vertex)| !vertex.quiet);
        let names = shown.map(|(_, vertex)| vertex.name.clone()).collect();
        (joined, names)
    }

    #[test]
    fn what_is_the_same_for_all_platforms_is_there_once() {
        let text = "FROM --platform=$BUILDPLATFORM go AS build\n\
                    COPY src .\nRUN fetch\n\
                    ARG TARGETARCH\nRUN make $TARGETARCH\n\
                    FROM alpine\nCOPY --from=build /out /out\nRUN test\n";
        let (joined, names) = steps(text, &["linux/amd64", "linux/arm64"]);
        let wanted = [
            "[linux/amd64 build 2/4] COPY src .",
            "[linux/amd64 build 3/4] RUN fetch",
            "[linux/amd64 build 4/4] RUN make amd64",
            "[linux/amd64 stage-1 2/3] COPY --from=build /out /out",
            "[linux/amd64 stage-1 3/3] RUN test",
            "[linux/amd64->arm64 build 4/4] RUN make arm64",
            "[linux/arm64 stage-1 2/3] COPY --from=build /out /out",
            "[linux/arm64 stage-1 3/3] RUN test",
        ];
        assert_eq!(names, wanted);
        let platforms: Vec<_> = joined.targets.iter().map(|one| one.platform.to_string()).collect();
        assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
        assert_eq!(joined.targets[1].config.architecture, "arm64");
        let images: Vec<_> = joined.images.iter().map(|(_, step)| step.as_str()).collect();
        let wanted = [
            "[linux/amd64 build 1/4] FROM go",
            "[linux/amd64 stage-1 1/3] FROM alpine",
            "[linux/arm64 stage-1 1/3] FROM alpine",
        ];
        assert_eq!(images, wanted);
        let last = joined.graph.get(joined.targets[1].root).unwrap();
        assert_eq!(last.name, "[linux/arm64 stage-1 3/3] RUN test");
    }

    #[test]
    fn one_platform_is_not_told() {
        let (joined, names) = steps("FROM alpine\nRUN a\nRUN a\n", &["linux/arm64"]);
        assert_eq!(names, ["[2/3] RUN a", "[3/3] RUN a"]);
        assert_eq!(joined.targets.len(), 1);
        assert!(join(Vec::new()).is_none());
    }

    #[test]
    fn a_warning_is_told_once() {
        let (joined, _) = steps("from alpine as a\nCMD x\n", &["linux/amd64", "linux/arm64"]);
        let (one, _) = steps("from alpine as a\nCMD x\n", &["linux/amd64"]);
        assert_eq!(joined.warnings, one.warnings);
        assert!(!one.warnings.is_empty());
    }
}
