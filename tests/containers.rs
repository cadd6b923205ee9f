//! What is done with containers and volumes that are there: `cp`, `top`, `stats`, `restart`,
//! `rename`, `attach` and `volume`.

use crate::home;
use rbuild_testkit::Home;

fn with_image() -> Home {
    let home = home();
    home.builds("app", "FROM busybox\nRUN mkdir -p /data/inner && echo one >/data/inner/file\n")
        .ok();
    home
}

/// The rules of `docker cp`, on a container that runs and on one that does not.
#[test]
fn files_go_in_and_out() {
    let home = with_image();
    home.write("tree/sub/leaf", "leaf\n");
    home.write("single", "single\n");
    home.types("rbuild create --name still app true").ok();
    home.types("rbuild run -d --name live app sleep 1000").ok();
    for name in ["still", "live"] {
        let cp = |words: &str| home.types(&format!("rbuild cp {}", words.replace('@', name)));
        let out = |path: &str| home.types(&format!("rbuild cp {name}:{path} - | tar -xO")).ok();
        cp("single @:/data").ok();
        assert_eq!(out("/data/single"), "single", "a file goes into a folder that is there");
        cp("single @:/data/named").ok();
        assert_eq!(out("/data/named"), "single", "or gets the name");
        cp("tree @:/data").ok();
        assert_eq!(out("/data/tree/sub/leaf"), "leaf", "so does a folder");
        cp("tree @:/new").ok();
        assert_eq!(out("/new/sub/leaf"), "leaf", "a new name is that of the folder");
        cp("tree/. @:/data/inner").ok();
        assert_eq!(out("/data/inner/sub/leaf"), "leaf", "/. is what it holds");
        assert_eq!(out("/data/inner/file"), "one", "what was there stays");
        cp("@:/data/inner/file got").ok();
        assert_eq!(home.read("got"), "one\n");
        cp("@:/data taken").ok();
        assert_eq!(home.read("taken/inner/file"), "one\n");
        cp("@:/data/. taken").ok();
        assert_eq!(home.read("taken/tree/sub/leaf"), "leaf\n");
        home.types(&format!("tar -C tree -c . | rbuild cp - {name}:/tmp")).ok();
        assert_eq!(out("/tmp/sub/leaf"), "leaf");
        let wrong = cp("single @:/none/").fails(1);
        assert!(wrong.contains("the folder is not there"), "{wrong}");
        let wrong = cp("tree @:/data/single").fails(1);
        assert!(wrong.contains("a folder cannot be copied onto a file"), "{wrong}");
        let wrong = cp("@:/no/such/file x").fails(1);
        assert!(wrong.contains("/no/such/file"), "{wrong}");
        cp("single @:/none/file").fails(1);
        home.types("rm -r taken").ok();
    }
    let seen = home.types("rbuild exec live cat /data/single /new/sub/leaf").ok();
    assert_eq!(seen, "single\nleaf");
    home.types("rbuild cp single other").fails(2);
    home.types("rbuild cp live:/x still:/x").fails(2);
}

/// A path in a container leads nowhere else, whatever links it has.
#[test]
fn links_of_a_container_lead_to_its_own_files() {
    let home = with_image();
    home.write("mine", "mine\n");
    let host = home.path("");
    let script = format!("ln -s {} /way; ln -s ../../../../../../etc /up", host.display());
    home.types(&format!("rbuild run --name odd app sh -c '{script}'")).ok();
    home.types("rbuild cp mine odd:/way/stolen").fails(1);
    home.types("rbuild cp odd:/way/mine got").fails(1);
    home.types("rbuild cp odd:/up/passwd got").ok();
    assert!(home.read("got").starts_with("root:x:0:0:root:/root:/bin/sh\napp:"), "its own");
    assert!(!home.path("stolen").exists());
    home.types("rbuild cp odd:/way linked").ok();
    assert!(home.path("linked").symlink_metadata().unwrap().is_symlink(), "a link is copied");
    home.types("rbuild cp -L odd:/up followed").ok();
    assert!(home.path("followed/passwd").is_file(), "-L copies what it points at");
}

#[test]
fn owners_are_kept_where_that_is_asked_for() {
    let home = with_image();
    home.types("rbuild run --name owned app sh -c 'echo x >/tmp/x; chown 12:34 /tmp/x'").ok();
    home.types("rbuild cp owned:/tmp/x plain; rbuild cp -a owned:/tmp/x kept").ok();
    assert_eq!(home.types("stat -c %u:%g plain kept").ok(), "0:0\n12:34");
    home.types("rbuild cp kept owned:/tmp/plain; rbuild cp -a kept owned:/tmp/kept").ok();
    let listed = home.types("rbuild cp owned:/tmp - | tar --numeric-owner -tv").ok();
    let owner = |name: &str| {
        let line = listed.lines().find(|line| line.ends_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!((&*owner("tmp/plain"), &*owner("tmp/kept")), ("0/0", "12/34"));
}

#[test]
fn processes_are_listed_as_ps_does() {
    let home = with_image();
    home.types("rbuild run -d --name busy app sh -c 'sleep 999 & exec sleep 1000'").ok();
    let listed = home.types("rbuild top busy").ok();
    let mut lines = listed.lines();
    let titles: Vec<_> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    let mut commands: Vec<_> =
        lines.map(|line| line.split_whitespace().skip(7).collect::<Vec<_>>().join(" ")).collect();
    commands.sort();
    assert_eq!(commands, ["sleep 1000", "sleep 999"]);
    let pid = home.types("rbuild inspect --format '{{.State.Pid}}' busy").ok();
    assert!(listed.contains(&format!(" {pid} ")), "as the host numbers them: {listed}");
    let row = home.types("rbuild stats --no-stream --format '{{.Name}} {{.PIDs}} {{.CPUPerc}}'");
    let row = row.ok();
    assert!(row.starts_with("busy 2 ") && row.ends_with('%'), "{row}");
    home.types("rbuild stop -t 0 busy").ok();
    let wrong = home.types("rbuild top busy").fails(1);
    assert!(wrong.contains("is not running"), "{wrong}");
}

#[test]
fn a_container_is_restarted_renamed_and_attached_to() {
    let home = with_image();
    home.types("rbuild run -d --name one app sh -c 'echo up; cat; sleep 1000'").ok();
    let pid = || home.types("rbuild inspect --format '{{.State.Pid}}' one").ok();
    let before = pid();
    assert_eq!(home.types("rbuild restart -t 0 one").ok(), "one");
    assert_ne!(pid(), before);
    assert_eq!(home.types("rbuild logs one").ok(), "up\nup");
    home.types("rbuild rename one two").ok();
    assert_eq!(home.types("rbuild ps --format '{{.Names}}'").ok(), "two");
    home.types("rbuild attach one").fails(1);
    home.types("rbuild run -di --name ear app sh -c 'read line; echo heard $line; exit 7'").ok();
    let heard = home.types("echo this | rbuild attach ear");
    assert_eq!((heard.code, &*heard.stdout), (7, "heard this\n"));
}

#[test]
fn volumes_have_verbs() {
    let home = with_image();
    assert_eq!(home.types("rbuild volume create --label a=b data").ok(), "data");
    home.types("rbuild run --rm -v data:/d app sh -c 'echo kept >/d/file'").ok();
    assert_eq!(home.types("rbuild run --rm -v data:/d app cat /d/file").ok(), "kept");
    let listed = home.types("rbuild volume ls").ok();
    let rows: Vec<Vec<_>> = listed.lines().map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(rows, [vec!["DRIVER", "VOLUME", "NAME"], vec!["local", "data"]]);
    let label = home.types("rbuild volume inspect --format '{{.Labels.a}} {{.Driver}}' data").ok();
    assert_eq!(label, "b local");
    home.types("rbuild run --name user -v data:/d -v /anonymous app true").ok();
    let wrong = home.types("rbuild volume rm data").fails(1);
    assert!(wrong.contains("uses it"), "{wrong}");
    assert_eq!(home.types("rbuild volume ls -qf dangling=true").ok(), "");
    home.types("rbuild rm user").ok();
    let pruned = home.types("rbuild volume prune -f").ok();
    assert!(pruned.starts_with("Deleted Volumes:\n"), "{pruned}");
    assert_eq!(home.types("rbuild volume ls -q").ok(), "data", "a volume with a name stays");
    home.types("rbuild volume prune -af --filter label=a").ok();
    assert_eq!(home.types("rbuild volume ls -q").ok(), "");
    home.types("rbuild volume rm data").fails(1);
    home.types("rbuild volume rm -f data").ok();
    home.types("rbuild volume create -d nfs x").fails(2);
}

#[test]
fn a_container_becomes_an_image() {
    let home = with_image();
    let script = "rm -r /data/inner; echo new >/data/new; chown 12:34 /data/new";
    home.types(&format!("rbuild run --name odd -e A=1 -u 0 app sh -c '{script}'")).ok();
    let id = home
        .types("rbuild commit -a me -m why -c 'CMD cat /data/new' -c 'LABEL l=v' odd made:1")
        .ok();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(home.types("rbuild run --rm made:1").ok(), "new");
    let listed = home.types("rbuild run --rm made:1 sh -c 'ls /data; stat -c %u:%g /data/new'");
    assert_eq!(listed.ok(), "new\n12:34", "what was removed is gone");
    let format = "{{.Author}} {{.Config.User}} {{.Config.Labels.l}} {{index .Config.Env 1}}";
    let told = home.types(&format!("rbuild image inspect --format '{format}' made:1")).ok();
    assert_eq!(told, "me 0 v A=1");
    let history = home.types("rbuild history --format '{{.Comment}}' made:1").ok();
    assert!(history.starts_with("why"), "{history}");
    let there = format!("{}/made:1", home.registry.host());
    home.types(&format!("rbuild tag made:1 {there}; rbuild push {there}")).ok();
    home.types("rbuild commit -c 'RUN true' odd").fails(1);
    home.types("rbuild commit nobody").fails(1);
    assert_eq!(home.types("rbuild cache verify").code, 0);
}

#[test]
fn the_files_of_a_container_become_an_archive() {
    let home = with_image();
    home.types("rbuild run --name odd app sh -c 'rm /data/inner/file; echo x >/data/x'").ok();
    home.types("rbuild export -o all.tar odd").ok();
    let listed = home.types("tar -tf all.tar").ok();
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines.contains(&"data/x") && lines.contains(&"data/inner/"), "{listed}");
    assert!(!lines.contains(&"data/inner/file"), "what was removed is not in it: {listed}");
    home.types("rbuild import all.tar flat && rbuild run --rm flat cat /data/x").ok();
    assert_eq!(home.types("rbuild export odd | cmp - all.tar").ok(), "");
    // Of one that runs, what is mounted is not in it.
    home.types("rbuild run -d --name live -v data:/vol app sh -c 'echo x >/vol/x; sleep 1000'")
        .ok();
    let listed = home.types("rbuild export live | tar -t").ok();
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines.contains(&"data/inner/file") && lines.contains(&"proc/"), "{listed}");
    let inside = |folder: &str| lines.iter().filter(|line| line.starts_with(folder)).count();
    assert_eq!((inside("proc/"), inside("sys/"), inside("vol/")), (1, 1, 1), "{listed}");
}
