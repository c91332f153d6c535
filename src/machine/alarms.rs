//! Alarms: what is wrong with which member, agreed by all.

use std::collections::BTreeSet;

use super::command::AlarmKind;
use crate::base::MemberId;

/// The alarms that stand. They stand until someone clears them; a restart keeps them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Alarms {
    standing: BTreeSet<(MemberId, AlarmKind)>,
}

impl Alarms {
    /// Raises an alarm; what etcd answers: the alarm, raised now or before.
    pub fn activate(&mut self, member: MemberId, kind: AlarmKind) -> Vec<(MemberId, AlarmKind)> {
        self.standing.insert((member, kind));
        vec![(member, kind)]
    }

    /// Clears an alarm; what etcd answers: the alarm, if it stood.
    pub fn deactivate(&mut self, member: MemberId, kind: AlarmKind) -> Vec<(MemberId, AlarmKind)> {
        if self.standing.remove(&(member, kind)) { vec![(member, kind)] } else { Vec::new() }
    }

    /// Whether any member has this alarm.
    pub fn any(&self, kind: AlarmKind) -> bool {
        self.standing.iter().any(|(_, standing)| *standing == kind)
    }

    /// All of them, by member.
    pub fn list(&self) -> Vec<(MemberId, AlarmKind)> {
        self.standing.iter().copied().collect()
    }
}
