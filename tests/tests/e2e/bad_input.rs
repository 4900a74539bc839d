//! Files that are broken, huge or hostile: reported, and nothing else is lost.

use crate::{SHOP, TO_SHOP, shop};
use e2e::{Gateway, Origin, Setup, run, run_gateway, virtual_service};
use std::fs;

fn to(service: &str) -> String {
    virtual_service(
        "shop",
        SHOP,
        &format!("- route: [{{destination: {{host: {service}}}}}]\n"),
    )
}

/// A shop of two services, `a` in use.
fn two_services(a: &Origin, b: &Origin) -> Setup {
    shop(TO_SHOP, &[("a", &[a.port()]), ("b", &[b.port()])]).file("shop.yaml", to("a"))
}

/// Starts the gateway beside a bad file, which must be named by log and `check`, and harm nothing.
#[track_caller]
fn is_reported_and_harmless(name: &str, put: impl FnOnce(&Setup)) {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let setup = two_services(&a, &b);
    put(&setup);
    let gateway = setup.start();
    assert_eq!(gateway.get(SHOP, "/").text(), "a");
    gateway.wait_for_log(&[name]);
    let check = run_gateway(gateway.folder(), &["check", "--config", "gateway.toml"]);
    assert_eq!(check.code, 1, "{}{}", check.stdout, check.stderr);
    assert!(check.stdout.contains(name), "{}", check.stdout);
    // Changes still get through.
    gateway.write("shop.yaml", to("b"));
    gateway.wait_for(SHOP, "/", 200, "b");
}

#[test]
fn binary_junk() {
    is_reported_and_harmless("junk.yaml", |setup| {
        let junk: Vec<u8> = (0..200_000_u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        fs::write(setup.resources().join("junk.yaml"), junk).expect("the file is written");
    });
}

#[test]
fn a_file_of_fifty_megabytes() {
    is_reported_and_harmless("huge.yaml", |setup| {
        let rule = virtual_service("huge", "huge.test", TO_SHOP);
        let comment = "# filler that a parser has to look at\n".repeat(50 * 1024 * 1024 / 38);
        fs::write(setup.resources().join("huge.yaml"), rule + &comment)
            .expect("the file is written");
    });
}

/// A symbolic link to itself cannot be read even by root.
#[test]
fn a_file_that_cannot_be_read() {
    is_reported_and_harmless("loop.yaml", |setup| {
        let path = setup.resources().join("loop.yaml");
        std::os::unix::fs::symlink("loop.yaml", path).expect("the link is made");
    });
}

/// Opening a pipe waits for a writer that never comes.
#[test]
fn a_pipe_in_the_folder_is_not_waited_for() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let setup = two_services(&a, &b);
    let path = setup.resources().join("pipe.yaml");
    assert_eq!(run("mkfifo", &[&path.to_string_lossy()]).code, 0);
    let gateway = setup.start();
    assert_eq!(gateway.get(SHOP, "/").text(), "a");
    gateway.write("shop.yaml", to("b"));
    gateway.wait_for(SHOP, "/", 200, "b");
}

#[test]
fn aliases_that_multiply() {
    is_reported_and_harmless("laughs.yaml", |setup| {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let below = format!("*a{}", level - 1);
            let ten = [below.as_str(); 10].join(", ");
            text += &format!("a{level}: &a{level} [{ten}]\n");
        }
        fs::write(setup.resources().join("laughs.yaml"), text).expect("the file is written");
    });
}

#[test]
fn nesting_without_end() {
    is_reported_and_harmless("deep.yaml", |setup| {
        fs::write(setup.resources().join("deep.yaml"), "[".repeat(500_000))
            .expect("the file is written");
    });
}

#[test]
fn a_file_that_is_half_written_keeps_what_was_there() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let gateway = two_services(&a, &b).start();
    let whole = to("b");
    // Ends in the middle of a flow mapping: no YAML.
    let half = whole
        .find("{host: b")
        .map(|at| &whole[..at + 5])
        .expect("the destination");
    fs::write(gateway.resources().join("shop.yaml"), half).expect("the file is written");
    gateway.wait_for_log(&["shop.yaml"]);
    for _ in 0..20 {
        assert_eq!(gateway.get(SHOP, "/").text(), "a");
    }
    fs::write(gateway.resources().join("shop.yaml"), whole).expect("the file is written");
    gateway.wait_for(SHOP, "/", 200, "b");
}

/// The other documents of a file with a bad one take effect.
#[test]
fn one_bad_document_costs_only_itself() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let good = virtual_service("good", "good.test", "- route: [{destination: {host: b}}]\n");
    let bad = virtual_service(
        "bad",
        "bad.test",
        "- route: [{destination: {host: b}, weight: -1}]\n",
    );
    let gateway = two_services(&a, &b)
        .file("both.yaml", format!("{bad}---\n{good}"))
        .start();
    assert_eq!(gateway.get("good.test", "/").text(), "b");
    assert_eq!(gateway.get("bad.test", "/").status, 404);
    assert_eq!(gateway.get(SHOP, "/").text(), "a");
    // Promise 4: the object, the field and the line.
    let check = run_gateway(gateway.folder(), &["check", "--config", "gateway.toml"]);
    for word in ["default/bad", "spec.http[0].route[0].weight", "both.yaml"] {
        assert!(
            check.stdout.contains(word),
            "{word} is not in {}",
            check.stdout
        );
    }
}

/// A folder, or one object, can have thousands.
#[test]
fn not_all_of_hundreds_of_mistakes_are_logged() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let gateway = two_services(&a, &b).start();
    let bad = |number: u32| {
        let route = "- route: [{destination: {host: b}, weight: -1}]\n";
        virtual_service(&format!("bad-{number}"), "bad.test", route)
    };
    let all: Vec<String> = (0..300).map(bad).collect();
    gateway.write("bad.yaml", all.join("---\n"));
    gateway.wait_for_log(&["more is wrong", "left=100", "/diagnostics"]);
    assert_eq!(gateway.get(SHOP, "/").text(), "a");
}

/// Promise 5: while running, across a restart, and until it is mended.
#[test]
fn the_last_good_version_stays_in_force_across_a_restart() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let mut gateway = two_services(&a, &b).start();
    assert_eq!(gateway.get(SHOP, "/").text(), "a");
    let bad = to("b").replace("route:", "timeout: soon\n    route:");
    gateway.write("shop.yaml", bad);
    gateway.wait_for_log(&["default/shop", "spec.http[0].timeout"]);
    assert_eq!(gateway.get(SHOP, "/").text(), "a");
    // A change elsewhere does not bring the bad one in.
    gateway.write(
        "more.yaml",
        virtual_service("more", "more.test", "- route: [{destination: {host: b}}]\n"),
    );
    gateway.wait_for("more.test", "/", 200, "b");
    assert_eq!(gateway.get(SHOP, "/").text(), "a");

    gateway.restart();
    assert_eq!(gateway.get(SHOP, "/").text(), "a");
    gateway.write("shop.yaml", to("b"));
    gateway.wait_for(SHOP, "/", 200, "b");
}

/// Promise 5, where the end comes before a change is on disk: a thousand files take a while.
#[test]
fn what_came_at_the_last_moment_is_there_after_a_restart() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let mut gateway = two_services(&a, &b).start();
    let one = |number: u32| {
        let name = format!("more-{number}");
        let to_b = "- route: [{destination: {host: b}}]\n";
        virtual_service(&name, &format!("{name}.test"), to_b)
    };
    let all: Vec<String> = (1000..2000).map(one).collect();
    gateway.write("more.yaml", all.join("---\n"));
    gateway.wait_for("more-1000.test", "/", 200, "b");
    let all_bad = all
        .join("---\n")
        .replace("route:", "timeout: soon\n    route:");
    gateway.write("more.yaml", all_bad);
    gateway.restart();
    for number in [1000, 1500, 1999] {
        let host = format!("more-{number}.test");
        assert_eq!(gateway.get(&host, "/").text(), "b", "{host}");
    }
}

/// Promise 5 does not keep what was taken away on purpose.
#[test]
fn what_was_deleted_does_not_come_back_with_a_restart() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let mut gateway = two_services(&a, &b).start();
    assert_eq!(gateway.get(SHOP, "/").text(), "a");
    gateway.remove("shop.yaml");
    gateway.wait_for(SHOP, "/", 404, "");
    gateway.restart();
    assert_eq!(gateway.get(SHOP, "/").status, 404);
}

/// Promise 9, and what a machine looks like before anything is deployed.
#[test]
fn an_empty_folder_is_served_from_later_on() {
    let origin = Origin::named("late");
    let gateway = Gateway::start(&[]);
    gateway.write("service.yaml", e2e::service("shop", 8000, &[origin.port()]));
    gateway.write("gateway.yaml", e2e::gateway("edge", &["*"]));
    gateway.write("shop.yaml", to("shop"));
    let up = e2e::poll_for(e2e::PATIENCE, || {
        let mut connection = e2e::Connection::try_open(gateway.http()).ok()?;
        let response = connection.send(&e2e::Request::get(SHOP, "/")).ok()?;
        (response.text() == "late").then_some(())
    });
    assert!(up.is_some(), "not served");
}
