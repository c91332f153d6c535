//! What a hunt for planted bugs came to, as a table for people.

use std::fmt::Write;
use std::time::Duration;

use super::bug::Bug;
use super::hunt::Hunted;

/// One bug and what became of it.
pub struct Row {
    bug: Bug,
    hunted: Hunted,
    took: Duration,
}

impl Row {
    /// A bug that was hunted for so long, building included.
    pub fn new(bug: Bug, hunted: Hunted, took: Duration) -> Self {
        Self { bug, hunted, took }
    }

    /// Whether a bug was caught, and a control was not.
    pub fn is_right(&self) -> bool {
        self.hunted.caught.is_some() != self.bug.control
    }

    fn outcome(&self) -> String {
        let Hunted { seeds, failed, .. } = self.hunted;
        match (self.hunted.caught, self.bug.control) {
            (Some(seed), false) if failed > 1 => format!("{seed} ({failed} of {seeds})"),
            (Some(seed), false) => format!("{seed}"),
            (Some(seed), true) => format!("{seed}, WRONGLY"),
            (None, false) => format!("NOT in {seeds}"),
            (None, true) => format!("not in {seeds}, rightly"),
        }
    }

    /// Which oracle, by the first line of what it says where a bug asserted itself.
    fn oracle(&self) -> String {
        let Hunted { words, story, .. } = &self.hunted;
        if !words.starts_with("a bug asserted itself") {
            return words.clone();
        }
        let said: Vec<&str> = story.lines().take(2).collect();
        format!("{words}: {}", said.join(" "))
    }

    /// In one line, with what the judge said in the next.
    pub fn line(&self) -> String {
        let (name, outcome, oracle) = (&self.bug.name, self.outcome(), self.oracle());
        let story = self.hunted.story.lines().next().unwrap_or_default();
        format!("{name}: {outcome}: {oracle}\n    {story}\n    {:.0} s", self.took.as_secs_f64())
    }
}

/// The table, as the track record has it.
pub fn of(rows: &[Row]) -> String {
    let mut table =
        String::from("| bug | what it breaks | judge | caught at seed | words | s |\n|---|---|---|---|---|---|\n");
    for row in rows {
        let Row { bug, took, .. } = row;
        let (name, breaks, judge) = (&bug.name, &bug.breaks, &bug.judge);
        let (outcome, oracle, seconds) = (row.outcome(), row.oracle().replace('|', "\\|"), took.as_secs());
        let _ = writeln!(table, "| {name} | {breaks} | {judge} | {outcome} | {oracle} | {seconds} |");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_is_right_when_nobody_sees_it() {
        let row = |control: bool, caught: Option<u64>| {
            let text = "breaks: it\njudge: someone\nseeds: 7\n[find src/lib.rs]\na\n[put]\nb\n[end]\n";
            let mut bug = Bug::read("one", text).unwrap();
            bug.control = control;
            Row::new(bug, Hunted { seeds: 7, caught, ..Hunted::default() }, Duration::ZERO)
        };
        assert!(row(false, Some(3)).is_right() && !row(false, None).is_right());
        assert!(row(true, None).is_right() && !row(true, Some(3)).is_right());
        assert!(of(&[row(false, None)]).contains("NOT in 7"));
    }
}
