//! Requests that took long, as the log tells them.

use std::time::{Duration, Instant};

use quorate::base::limits;
use quorate::wire::etcdserverpb as pb;
use serde_json::Value;

use crate::process::{Home, LIMIT, put};

/// The lines of slow requests of a method, once there is one.
async fn told(home: &Home, method: &str) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let text = home.log_text();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let told = lines.filter(|line| line["msg"] == "request stats" && line["response type"] == method);
        let told: Vec<_> = told.collect();
        if !told.is_empty() {
            return told;
        }
        assert!(began.elapsed() < LIMIT, "{method} in {text}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Names, level and values as stock etcd 3.7.1 was seen to write them.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_took_long_is_told_in_etcds_words_and_of_many_few_are() {
    let home = Home::new();
    let server = home.start_with(&["--warning-unary-request-duration=1ns"]);
    let (mut kv, began) = (server.kv(), Instant::now());
    put(&mut kv, "foo".into(), "secret".into()).await.unwrap();
    let line = &told(&home, "/etcdserverpb.KV/Put").await[0];
    assert_eq!(line["level"], "warn");
    assert!(line["remote"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    assert!(line["start time"].as_str().is_some_and(|time| time.len() == 27 && time.ends_with('Z')), "{line}");
    let spent = line["time spent"].as_str().unwrap();
    assert!(spent.ends_with('s') && spent.starts_with(|c: char| c.is_ascii_digit()), "{line}");
    assert_eq!((&line["request count"], &line["request size"]), (&1.into(), &13.into()));
    assert_eq!(line["response count"], 0);
    assert!(line["response size"].as_i64() > Some(20), "{line}");
    assert_eq!(line["request content"], "key:\"foo\" value_size:6 ");
    for _ in 0..100 {
        put(&mut kv, "foo".into(), "secret".into()).await.unwrap();
    }
    kv.range(pb::RangeRequest { key: "foo".into(), ..Default::default() }).await.unwrap();
    let line = &told(&home, "/etcdserverpb.KV/Range").await[0];
    assert_eq!((&line["response count"], &line["request content"]), (&1.into(), &"key:\"foo\"".into()));
    let of_put = told(&home, "/etcdserverpb.KV/Put").await.len() as u128;
    let pauses = began.elapsed().as_millis() / u128::from(limits::SELDOM_MS);
    assert!(of_put <= 1 + pauses, "{of_put} lines in {pauses} pauses");
    assert!(!home.log_text().contains("secret"), "no value is told");
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_slow_is_not_told() {
    let home = Home::new();
    let server = home.start_with(&["--warning-unary-request-duration=1h"]);
    put(&mut server.kv(), "foo".into(), "bar".into()).await.unwrap();
    server.stop();
    assert!(home.log_has(&["stopped"]) && !home.log_has(&["request stats"]), "{}", home.log_text());
}
