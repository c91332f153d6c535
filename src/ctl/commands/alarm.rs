//! `alarm list` and `alarm disarm`

use std::io;

use clap::ArgMatches;
use prost::Message as _;

use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::AlarmType;
use crate::wire::etcdserverpb::alarm_request::AlarmAction;

use crate::ctl::command::{Command, Deed, Section, no_shared_flags, words};
use crate::ctl::failure::Failure;
use crate::ctl::output::{Fields, Look, Object, Reply, Streams, Tree, header};
use crate::ctl::session::Session;

/// `alarm`
pub const COMMAND: Command = Command {
    name: "alarm",
    short: "Alarm related commands. Use `quoratectl alarm --help` to see subcommands",
    long: "Alarm related commands",
    example: "quoratectl alarm list",
    section: Some(Section::Maintenance),
    flags: no_shared_flags,
    deed: Deed::Group(&[
        Command {
            name: "disarm",
            short: "Disarms all alarms",
            example: "quoratectl alarm disarm",
            deed: Deed::Run(|session, matches| Box::pin(disarm(session, matches))),
            ..Command::PLAIN
        },
        Command {
            name: "list",
            short: "Lists all alarms",
            example: "quoratectl alarm list",
            deed: Deed::Run(|session, matches| Box::pin(list(session, matches))),
            ..Command::PLAIN
        },
    ]),
    ..Command::PLAIN
};

/// Asks for every alarm.
pub fn every_alarm() -> pb::AlarmRequest {
    pb::AlarmRequest { action: AlarmAction::Get as i32, member_id: 0, alarm: AlarmType::None as i32 }
}

async fn list(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    if !words(matches).is_empty() {
        return Err(Failure::bad_args("alarm list command accepts no arguments"));
    }
    let response = session.client().await?.alarm(every_alarm()).await?;
    session.show(&response)
}

/// Lowers each alarm there is; the result names them and, as in etcdctl, has no header.
async fn disarm(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    if !words(matches).is_empty() {
        return Err(Failure::bad_args("alarm disarm command accepts no arguments"));
    }
    let client = session.client().await?;
    let mut disarmed = pb::AlarmResponse::default();
    for raised in client.alarm(every_alarm()).await?.alarms {
        let request = pb::AlarmRequest {
            action: AlarmAction::Deactivate as i32,
            member_id: raised.member_id,
            alarm: raised.alarm,
        };
        disarmed.alarms.extend(client.alarm(request).await?.alarms);
    }
    session.show(&disarmed)
}

impl Reply for pb::AlarmResponse {
    fn simple(&self, _look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        for alarm in &self.alarms {
            // As Go prints a protobuf message: values that are zero are left out.
            let mut parts = Vec::new();
            if alarm.member_id != 0 {
                parts.push(format!("memberID:{}", alarm.member_id));
            }
            if alarm.alarm != 0 {
                let name = AlarmType::try_from(alarm.alarm).map(|alarm| alarm.as_str_name().to_owned());
                parts.push(format!("alarm:{}", name.unwrap_or_else(|_| alarm.alarm.to_string())));
            }
            writeln!(to.out, "{}", parts.join(" "))?;
        }
        Ok(())
    }

    fn tree(&self, _look: Look) -> Tree<'_> {
        let alarms = Tree::list(&self.alarms, |alarm| {
            let object = Object::new()
                .unless_empty("memberID", Tree::Uint(alarm.member_id))
                .unless_empty("alarm", Tree::Int(alarm.alarm.into()));
            Tree::Object(object)
        });
        Tree::Object(header(Object::new(), self.header.as_ref()).unless_empty("alarms", alarms))
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        let fields = Fields::of(self.header.as_ref(), look);
        Some(fields.each(&self.alarms, |fields, alarm| {
            let name = AlarmType::try_from(alarm.alarm).map(|alarm| alarm.as_str_name().to_owned());
            let name = name.unwrap_or_else(|_| alarm.alarm.to_string());
            fields.id("MemberID", alarm.member_id).value("AlarmType", name).blank()
        }))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}
