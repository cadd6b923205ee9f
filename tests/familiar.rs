//! What users of docker know: what shows as changed, what is found by its name, what goes.

use crate::home;
use rbuild_testkit::Home;

fn with_image() -> Home {
    let home = home();
    home.builds("app", "FROM busybox\n").ok();
    home
}

#[test]
fn what_is_only_mounted_on_is_no_change() {
    let home = with_image();
    home.write("script", "text");
    home.types("rbuild run -d --name box -v vol:/a/b -v ./script:/a/file app sleep 1000").ok();
    assert_eq!(home.types("rbuild diff box").ok(), "");
    home.types("rbuild commit box bare").ok();
    home.types("rbuild exec box sh -c 'echo own >/a/own; : >/etc/empty'").ok();
    let changes = "A /a\nA /a/own\nC /etc\nA /etc/empty";
    assert_eq!(home.types("rbuild diff box").ok(), changes, "what the user made shows");
    home.types("rbuild commit box own").ok();
    home.types("rbuild stop -t 0 box").ok();
    assert_eq!(home.types("rbuild diff box").ok(), changes, "stopped as well");
    let files = |image: &str| home.types(&format!("rbuild diff app {image}")).stdout;
    let (bare, own) = (files("bare"), files("own"));
    assert!(!bare.contains(" /"), "{bare}");
    let is_added = |path: &str| own.lines().any(|line| line.starts_with(&format!("+ {path} ")));
    assert!(is_added("/etc/empty") && is_added("/a") && own.contains("and 1 in it"), "{own}");
}

#[test]
fn inspect_finds_networks_and_volumes() {
    let home = with_image();
    home.types("rbuild volume create data").ok();
    let type_of = |typed: &str| home.types(typed).ok();
    assert_eq!(type_of("rbuild inspect -f '{{.Driver}} {{.Name}}' data"), "local data");
    assert_eq!(type_of("rbuild inspect --type volume -f '{{.Name}}' data"), "data");
    assert_eq!(type_of("rbuild inspect -f '{{.Driver}} {{.Name}}' bridge"), "bridge bridge");
    assert_eq!(type_of("rbuild inspect --type network -f '{{.Name}}' host"), "host");
    for wrong in [
        "inspect nosuch",
        "inspect --type network data",
        "inspect --type volume bridge",
        "volume inspect nosuch",
        "network inspect nosuch",
    ] {
        let answer = home.types(&format!("rbuild {wrong}"));
        assert_eq!(answer.stdout.trim(), "[]", "{wrong}: {answer}");
        assert!(answer.fails(1).contains("nosuch") || wrong.contains("type"), "{wrong}");
    }
}

#[test]
fn df_tells_of_volumes() {
    let home = with_image();
    home.types("rbuild run --name box -v used:/d app sh -c 'echo four >/d/f'").ok();
    home.types("rbuild volume create idle").ok();
    let row = home.types("rbuild system df").ok();
    let row = row.lines().find(|line| line.starts_with("Local Volumes")).unwrap().to_owned();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells[2..4], ["2", "1"], "{row}");
    let whole = home.types("rbuild system df -v").ok();
    for title in ["Images", "Containers", "Local Volumes"] {
        assert!(whole.contains(&format!("\n{title} space usage:\n")), "{whole}");
    }
    let links = |name: &str| {
        let line = whole.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!((links("used"), links("idle")), ("1".to_owned(), "0".to_owned()), "{whole}");
}

#[test]
fn prunes_take_what_their_filters_say() {
    let home = with_image();
    home.types("rbuild create --name one --label keep app true").ok();
    home.types("rbuild create --name two app true").ok();
    home.types("rbuild container prune -f --filter until=1h").ok();
    home.types("rbuild container prune -f --filter label=nosuch").ok();
    assert_eq!(home.types("rbuild ps -a --format '{{.Names}}'").ok(), "two\none");
    home.types("rbuild container prune -f --filter label!=keep").ok();
    assert_eq!(home.types("rbuild ps -a --format '{{.Names}}'").ok(), "one");
    home.types("rbuild container prune -f --filter other=x").fails(2);
    assert!(!home.types("rbuild container prune --help").ok().contains("--all"));
    home.types("rbuild volume create named").ok();
    home.types("rbuild volume create").ok();
    home.types("rbuild system prune -f").ok();
    assert_eq!(home.types("rbuild volume ls -q").ok().lines().count(), 2);
    home.types("rbuild system prune -f --volumes").ok();
    assert_eq!(home.types("rbuild volume ls -q").ok(), "named");
}

#[test]
fn errors_of_networks_lead_nowhere_wrong() {
    let home = with_image();
    home.types("rbuild create --name box app true").ok();
    let wrong = home.types("rbuild network connect host box").fails(1);
    assert!(wrong.contains("cannot be connected to host network"), "{wrong}");
    let wrong = home.types("rbuild network rm nosuch").fails(1);
    assert!(wrong.contains("nosuch") && !wrong.contains("create"), "{wrong}");
    let told = home.types("TZ=UTC rbuild events --since 1h --until 0s").ok();
    let first = told.lines().next().unwrap().split(' ').next().unwrap().to_owned();
    assert!(first.ends_with('Z'), "{first}");
}
