//! The sample application in a mesh, by the original examples as they are written.

use e2e::{Bookinfo, Pod, destination_rule, eventually, mesh_agent_binary, seed};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What requests for ratings end in, as the page tells it.
const RATINGS: &str = "ratings";

/// A DestinationRule with a subset for each of these versions, which the examples presuppose.
pub(crate) fn versions_of(host: &str, versions: &[&str]) -> String {
    let mut subsets = "subsets:\n".to_owned();
    for version in versions {
        subsets += &format!("- {{name: {version}, labels: {{version: {version}}}}}\n");
    }
    destination_rule(host, &subsets)
}

fn reviews_rule() -> String {
    versions_of("reviews", &["v1", "v2", "v3"])
}

/// The application with these rules and all subsets.
fn book(rules: &[(&str, &str)]) -> Bookinfo {
    let (reviews, ratings) = (reviews_rule(), versions_of(RATINGS, &["v1"]));
    let mut files = vec![
        ("reviews-versions.yaml", reviews.as_str()),
        ("ratings-versions.yaml", ratings.as_str()),
    ];
    files.extend(rules);
    Bookinfo::start(&files)
}

/// `GET` of the ratings by reviews of a version.
fn ratings_by(reviews: &Pod, headers: &[(&str, &str)]) -> u16 {
    reviews.get_with("ratings:9080/ratings/0", headers).status
}

/// What the sidecar of a pod would do with a request of its application, without doing it. Promise 2.
fn explain(pod: &Pod, arguments: &[&str], url: &str) -> Value {
    let config = pod.agent().folder().join("mesh-agent.toml");
    let config = config.to_str().expect("a path of UTF-8");
    let usual = ["explain", "--format", "json", "--config", config];
    let all = [&usual[..], arguments, &[url]].concat();
    let ran = pod.machine().run(mesh_agent_binary(), &all);
    match serde_json::from_str(&ran.stdout) {
        Ok(explained) => explained,
        Err(error) => panic!("{error}: {ran:?}"),
    }
}

#[test]
fn without_rules_all_versions_have_their_share() {
    let book = Bookinfo::start(&[]);
    let versions = book.versions(60);
    for version in ["v1", "v2", "v3"] {
        assert!(versions.iter().any(|one| one == version), "{versions:?}");
    }
    let page = book
        .client
        .get(&format!("{}:9080/productpage", book.productpage.address()));
    assert_eq!(page.header("server"), Some("istio-envoy"));
    let reviews = book.productpage.get("reviews:9080/reviews/0");
    assert_eq!(reviews.header("server"), Some("envoy"));
}

/// Seeds 04, 05 and 07, one after the other as the page has them.
#[test]
fn a_new_version_is_rolled_out() {
    let book = book(&[("reviews.yaml", &seed("04-default-route-v1.yaml"))]);
    assert_eq!(book.versions(20), vec!["v1"; 20]);

    book.mesh
        .write("reviews.yaml", seed("05-canary-weights.yaml"));
    book.wait_for(&[], |page| page["version"] == "v2");
    let before = book.reviews_apps.each_ref().map(|app| app.hits());
    for _ in 0..400 {
        assert_eq!(book.productpage.get("reviews:9080/reviews/0").status, 200);
    }
    let hits: Vec<_> = (book.reviews_apps.iter().zip(before))
        .map(|(app, before)| app.hits() - before)
        .collect();
    // 100 are expected; less than 55 or more than 145 would be five standard deviations off.
    assert!((55..=145).contains(&hits[1]), "{hits:?}");
    assert_eq!((hits[0] + hits[1], hits[2]), (400, 0), "{hits:?}");

    book.mesh.write("reviews.yaml", seed("07-all-v2.yaml"));
    eventually("only v2 is asked", || {
        book.versions(10).iter().all(|version| version == "v2")
    });
    assert_eq!(book.versions(20), vec!["v2"; 20]);
}

/// Seed 01: whether the cookie is one of the user's is told by the expression as it is written.
#[test]
fn ratings_fail_for_one_user() {
    let book = book(&[
        ("reviews.yaml", &seed("07-all-v2.yaml")),
        ("ratings.yaml", &seed("01-fault-abort-jason.yaml")),
    ]);
    for (cookie, status) in [
        ("user=jason", 500),
        ("user=jason; a=1", 500),
        ("a=1;user=jason", 500),
        ("a=1; user=jason", 200),
        ("user=jasonx", 200),
        ("user=someone", 200),
    ] {
        let page = book.page(&[("Cookie", cookie)]);
        assert_eq!(page[RATINGS], status, "{cookie}: {page}");
        let header = format!("cookie: {cookie}");
        let explained = explain(&book.reviews[1], &["-H", &header], "http://ratings:9080/");
        let outcome = if status == 500 { "abort" } else { "forward" };
        assert_eq!(explained["outcome"], outcome, "{cookie}: {explained}");
    }
    assert_eq!(book.page(&[])[RATINGS], 200);
    assert_eq!(book.ratings_app.hits(), 4);
    let [_, two, _] = &book.reviews;
    let record = two.agent().logged_with("response_flags", "FI");
    assert_eq!(record["response_code"], 500, "{record}");
    assert_eq!(record["authority"], "ratings:9080", "{record}");
}

/// Seed 03.
#[test]
fn ratings_are_late() {
    let book = book(&[("ratings.yaml", &seed("03-fault-delay.yaml"))]);
    let [_, two, _] = &book.reviews;
    let asked = Instant::now();
    assert_eq!(ratings_by(two, &[]), 200);
    let took = asked.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let record = two.agent().logged("/ratings/0");
    assert_eq!(record["response_flags"], "DI", "{record}");
}

/// Seed 06 with the route that the page has lost: it holds for one version of the reviews, and for one user.
#[test]
fn a_rule_is_for_one_source_and_one_user() {
    let route = "    route:\n    - destination: {host: ratings, subset: v1}\n";
    let rule = seed("06-match-source-and-user.yaml").trim_end().to_owned() + "\n" + route;
    let book = book(&[
        ("reviews.yaml", &seed("07-all-v2.yaml")),
        ("ratings.yaml", &rule),
    ]);
    let jason = [("end-user", "jason")];
    let [_, two, three] = &book.reviews;
    for (reviews, headers, status) in [
        (two, &jason[..], 200),
        (two, &[], 404),
        (two, &[("end-user", "someone")], 404),
        // To all others the rule says nothing, and ratings are reached as without it.
        (three, &[], 200),
        (&book.productpage, &jason, 200),
    ] {
        assert_eq!(ratings_by(reviews, headers), status, "{headers:?}");
    }
    assert_eq!(book.page(&jason)[RATINGS], 200);
    assert_eq!(book.page(&[])[RATINGS], 404);
}

/// Seed 06 as it is written leads nowhere: it is refused, and what was there before stays. Promises 4 and 5.
#[test]
fn a_rule_without_a_route_harms_only_itself() {
    let book = book(&[("ratings.yaml", &seed("01-fault-abort-jason.yaml"))]);
    let jason = [("cookie", "user=jason")];
    let [_, two, _] = &book.reviews;
    assert_eq!(ratings_by(two, &jason), 500);
    book.mesh
        .write("ratings.yaml", seed("06-match-source-and-user.yaml"));
    let told = ["VirtualService default/ratings", "spec.http[0]", "route"];
    two.agent().wait_for_log(&told);
    assert_eq!((ratings_by(two, &jason), ratings_by(two, &[])), (500, 200));
}
