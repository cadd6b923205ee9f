//! What it costs to hash ops as their keys do, by what is in them.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rbuild_cache::hash::key_of;
use rbuild_solver::op::{Copy, CopyItem, Exec, Mount, MountKind, Network, Op, Sharing};

/// How long each op is hashed again and again.
const LONG: Duration = Duration::from_millis(500);

#[expect(clippy::print_stdout, reason = "a bench prints what it measured")]
fn main() {
    println!("{:<40}{:>10}", "op", "ns a key");
    let ops = [
        ("RUN, 5 variables", exec(5, 0)),
        ("RUN, 50 variables, 5 cache mounts", exec(50, 5)),
        ("RUN, 1,000 variables", exec(1_000, 0)),
        ("COPY of a path", copy(vec![path("src")])),
        ("COPY of 1,000 paths", copy((0..1_000).map(|n| path(&format!("src/{n}"))).collect())),
        ("COPY of a heredoc of 1 MiB", copy(vec![inline(1 << 20)])),
        ("a stack", Op::Stack),
    ];
    for (name, op) in ops {
        let (began, mut keys) = (Instant::now(), 0_u32);
        while began.elapsed() < LONG {
            for _ in 0..16 {
                black_box(key_of("bench", black_box(&op)).expect("an op can be hashed"));
            }
            keys += 16;
        }
        println!("{name:<40}{:>10.0}", began.elapsed().as_secs_f64() * 1e9 / f64::from(keys));
    }
}

fn exec(variables: usize, mounts: usize) -> Op {
    let text = |text: &str| text.to_owned();
    let cache = |number: usize| MountKind::Cache {
        id: format!("cache-{number}"),
        sharing: Sharing::Shared,
        read_only: false,
        seed: None,
        source: String::new(),
        mode: 0o755,
        uid: 0,
        gid: 0,
    };
    let mount = |number| Mount { target: format!("/cache/{number}"), kind: cache(number) };
    Op::Exec(Box::new(Exec {
        args: vec![text("/bin/sh"), text("-c"), text("make -j8 all && make install")],
        env: (0..variables).map(|n| (format!("VARIABLE_{n}"), format!("/usr/value/{n}"))).collect(),
        unkeyed_env: Vec::new(),
        cwd: text("/src"),
        user: String::new(),
        mounts: (0..mounts).map(mount).collect(),
        devices: Vec::new(),
        network: Network::Default,
        insecure: false,
        hostname: String::new(),
        extra_hosts: Vec::new(),
        shm_size: 0,
        ulimits: Vec::new(),
        platform: text("linux/amd64"),
    }))
}

fn copy(items: Vec<CopyItem>) -> Op {
    Op::Copy(Copy { items, destination: "/app/".to_owned(), ..Copy::default() })
}

fn path(path: &str) -> CopyItem {
    CopyItem::Path { input: 1, pattern: path.to_owned(), unpack: false }
}

fn inline(length: usize) -> CopyItem {
    CopyItem::Inline { name: "file".to_owned(), contents: "x".repeat(length) }
}
