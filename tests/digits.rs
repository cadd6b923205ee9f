//! The kit's example of two containers: a model that tells digits apart, and what asks it in the
//! world's name. They find each other by name, and the host finds the second by its port.

use std::process::Command;

use rbuild_testkit::Home;

use crate::kit::{Registries, kit};

#[test]
fn two_containers_find_each_other_by_name_and_the_host_finds_their_port() {
    let Some(kit) = kit("digits::two_containers_find_each_other_by_name") else {
        return;
    };
    let registries = Registries::with(&kit, &["python"]);
    let home = Home::elsewhere(env!("CARGO_BIN_EXE_rbuild"), registries.plain());
    let says = |line: &str| home.types(line).ok();
    let digits = kit.join("contexts/digits");
    let place = digits.display();
    // The small one of the two: the same model without TensorFlow's 200 MB.
    says(&format!("rbuild build -f {place}/tf/Dockerfile.lite -t digits-tf {place}/tf"));
    says(&format!("rbuild build -t digits-api {place}/api"));
    says("rbuild network create app");
    says("rbuild run -d --network app --name tf digits-tf");
    says(
        "rbuild run -d --network app --name api -p 127.0.0.1::8000 \
         -e MODEL_URL=http://tf:8501/v1/models/digits digits-api",
    );
    let port = says("rbuild port api 8000");
    let checked = Command::new(digits.join("check.py")).arg(format!("http://{port}")).output();
    let checked = checked.unwrap();
    let said = String::from_utf8_lossy(&checked.stdout);
    let logs = || home.types("rbuild logs api; rbuild logs tf");
    assert!(checked.status.success() && said.contains("10 of 10 right"), "{said} {}", logs());
    // Without the model's container its name is nobody's, and the answer says so.
    says("rbuild rm -f tf");
    let url = format!("http://{port}/predict");
    let pixels = "[0]".replace('0', &["0"; 64].join(","));
    let ask = format!(
        "python3 -c 'import urllib.request as u; u.urlopen(u.Request(\"{url}\", \
         b\"{{\\\"pixels\\\": {pixels}}}\", {{\"Content-Type\": \"application/json\"}}))'"
    );
    let refused = home.types(&ask);
    assert!(refused.code != 0 && refused.stderr.contains("502"), "{refused}");
    says("rbuild rm -f api && rbuild network rm app");
}
