//! What members hold in common beside data, leases, users and who belongs to the cluster, at every place of the log: alarms, what members told
//! of themselves, and versions. Told every entry in order; alarms are the model's.

use std::collections::{BTreeMap, BTreeSet};

use quorate::base::MemberId;
use quorate::machine::Command;
use quorate_spec::request::AlarmKind;

/// It behind some entry.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Commons {
    /// The alarms that stand.
    pub alarms: BTreeSet<(u64, AlarmKind)>,
    /// What members said last: name and where clients reach them.
    pub told: BTreeMap<MemberId, (String, Vec<String>)>,
    /// The version agreed on.
    pub version: Option<String>,
    /// The version to go down to.
    pub downgrade: Option<String>,
}

/// All of it, each with the place from which on it held.
#[derive(Clone, Debug)]
pub struct CommonsCourse(Vec<(usize, Commons)>);

impl Default for CommonsCourse {
    fn default() -> Self {
        Self(vec![(0, Commons::default())])
    }
}

impl CommonsCourse {
    /// Takes an entry that leads to `place`, with the alarms that stand behind it.
    pub fn applied(&mut self, command: Option<&Command>, alarms: &BTreeSet<(u64, AlarmKind)>, place: usize) {
        let last = &self.0.last().expect("there is one from the beginning").1;
        let tells = matches!(
            command,
            Some(Command::SetMemberAttributes { .. } | Command::SetClusterVersion(_) | Command::SetDowngrade(_))
        );
        if !tells && last.alarms == *alarms {
            return;
        }
        let mut next = Commons { alarms: alarms.clone(), ..last.clone() };
        match command {
            Some(Command::SetMemberAttributes { member, name, client_urls }) => {
                next.told.insert(*member, (name.clone(), client_urls.clone()));
            }
            Some(Command::SetClusterVersion(version)) => next.version = Some(version.clone()),
            Some(Command::SetDowngrade(target)) => next.downgrade.clone_from(target),
            _ => {}
        }
        self.0.push((place, next));
    }

    /// What held at a place.
    pub fn at(&self, place: usize) -> &Commons {
        let behind = self.0.partition_point(|(from, _)| *from <= place);
        &self.0[behind - 1].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_what_held_there() {
        let mut course = CommonsCourse::default();
        let alarm = BTreeSet::from([(7, AlarmKind::NoSpace)]);
        let says = |name: &str| Command::SetMemberAttributes {
            member: MemberId(7),
            name: name.to_string(),
            client_urls: vec!["http://a:1".to_string()],
        };
        course.applied(Some(&says("a")), &BTreeSet::new(), 2);
        course.applied(None, &alarm, 4);
        course.applied(None, &alarm, 5);
        course.applied(Some(&Command::SetClusterVersion("3.7.0".to_string())), &alarm, 6);
        course.applied(Some(&Command::SetDowngrade(Some("3.6.0".to_string()))), &alarm, 7);
        course.applied(Some(&says("b")), &BTreeSet::new(), 8);
        let name = |place| course.at(place).told.get(&MemberId(7)).map(|told| told.0.clone());
        assert_eq!([1, 2, 7, 8].map(name), [None, Some("a".into()), Some("a".into()), Some("b".into())]);
        assert_eq!([3, 4, 7, 8].map(|place| course.at(place).alarms.len()), [0, 1, 1, 0]);
        let versions = |place| (course.at(place).version.as_deref(), course.at(place).downgrade.as_deref());
        assert_eq!([versions(5), versions(6)], [(None, None), (Some("3.7.0"), None)]);
        assert_eq!(versions(99), (Some("3.7.0"), Some("3.6.0")));
    }
}
