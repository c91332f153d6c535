//! Pages of real runs: well-formed, complete, and what is wrong is marked.

use serde_json::Value;

use super::*;
use crate::run::{run, run_drawn};

/// The data a page carries, taken out of it as a browser would.
fn data(html: &str) -> Value {
    let open = "<script id=\"run\" type=\"application/json\">";
    let (_, rest) = html.split_once(open).unwrap();
    let (data, _) = rest.split_once("</script>").unwrap();
    serde_json::from_str(data).unwrap()
}

fn marked(data: &Value) -> Vec<&Value> {
    data["operations"].as_array().unwrap().iter().filter(|drawn| !drawn["wrong"].is_null()).collect()
}

#[test]
fn the_page_of_a_seed_holds_every_operation_and_needs_nothing_else() {
    for seed in [1, 4] {
        let told = run_drawn(Plan::of(seed));
        assert_eq!(told.report.failure, None, "seed {seed}");
        let html = html(&told);
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            let (page, _) = html.split_once("<script id=\"run\"").unwrap();
            let without_names = page.replace("url(#", "");
            assert!(!without_names.contains(outside), "{outside} is fetched");
        }
        assert!(!html.contains("{{"), "a place was not filled");
        let data = data(&html);
        let operations = data["operations"].as_array().unwrap();
        assert_eq!(operations.len(), told.operations.len());
        assert_eq!(data["entries"].as_array().unwrap().len(), told.entries.len());
        for (drawn, operation) in operations.iter().zip(&told.operations) {
            assert_eq!(drawn["from"], operation.called_at);
            assert_eq!(drawn["to"], operation.returned_at);
            assert!(drawn["member"].is_u64(), "{drawn}");
        }
        assert!(marked(&data).is_empty());
        assert!(data["promises"].as_array().unwrap().iter().all(|judged| judged["stands"] != "broken"));
        let places = data["order"]["places"].as_array().unwrap();
        assert!(places.len() > operations.len() / 4, "{} of {} placed", places.len(), operations.len());
        for place in places {
            let (at, moment) = (place[0].as_u64().unwrap() as usize, place[1].as_u64().unwrap());
            let operation = &told.operations[at];
            assert!(operation.called_at <= moment, "{place}: {operation:?}");
        }
    }
}

#[test]
fn a_run_that_is_drawn_is_the_run_that_is_not() {
    for seed in [2, 6] {
        let (drawn, swarmed) = (run_drawn(Plan::of(seed)).report, run(seed));
        assert_eq!((drawn.trace, drawn.happenings), (swarmed.trace, swarmed.happenings), "seed {seed}");
    }
}

#[test]
fn every_member_has_spans_from_the_first_moment_to_the_last() {
    let told = run_drawn(Plan::of(2));
    let page = page(&told);
    assert_eq!(page.members.len(), told.plan.members.len());
    for lane in &page.members {
        let joints: Vec<_> = lane.spans.windows(2).map(|pair| (pair[0].to, pair[1].from)).collect();
        assert!(joints.iter().all(|(to, from)| to == from), "{joints:?}");
        assert_eq!((lane.spans[0].from, lane.spans.last().unwrap().to), (0, page.end));
        let boots = lane.moments.iter().filter(|moment| moment.what == "boot").count();
        assert!(boots >= 2, "the last loss of power is behind it: {:?}", lane.moments);
    }
}

#[test]
fn a_false_answer_is_marked_and_the_order_ends_there() {
    let mut told = run_drawn(Plan::of(1));
    assert!(falsify(&mut told.operations));
    let data = data(&html(&told));
    let marked = marked(&data);
    assert!(marked.iter().any(|drawn| drawn["got"].as_str().unwrap().contains("falsified")), "{marked:?}");
    assert!(marked.iter().all(|drawn| drawn["wrong"] == "cannot be next in any order"));
    let stuck = data["order"]["stuck"].as_array().unwrap();
    assert_eq!(stuck.len(), marked.len());
    let linearizable = &data["promises"][0];
    assert_eq!(
        (linearizable["name"].as_str(), linearizable["stands"].as_str()),
        (Some("linearizable"), Some("broken"))
    );
    assert!(data["wrong"]["at"].is_u64());
}

/// A run that a judge stopped: the judge's words are on the page, and who was answered in that moment is marked.
#[test]
fn what_a_judge_saw_broken_is_named_and_marked() {
    let broken = (0..20).find_map(|seed| {
        let mut plan = Plan::of(seed);
        plan.members.iter_mut().for_each(|member| member.disk.lies = true);
        let told = run_drawn(plan);
        told.violation.is_some().then_some(told)
    });
    let told = broken.unwrap();
    let page = page(&told);
    let wrong = page.wrong.unwrap();
    assert_eq!(wrong.words, told.violation.unwrap().promise);
    let broken: Vec<_> = page.promises.iter().filter(|judged| judged.stands == verdicts::Stands::Broken).collect();
    assert!(broken.iter().any(|judged| judged.why.contains(&wrong.words)), "{broken:?}");
}
