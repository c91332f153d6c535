//! `txn`: a transaction read from standard input.

use std::io::{self, BufRead};

use clap::{ArgMatches, Args, FromArgMatches};
use prost::Message as _;

use crate::wire::etcdserverpb as pb;
use crate::wire::etcdserverpb::request_op::Request;
use crate::wire::etcdserverpb::response_op::Response;

use super::txn_script::{self, Op, Requests};
use crate::ctl::command::{Command, Deed, Section};
use crate::ctl::failure::{Exit, Failure};
use crate::ctl::go;
use crate::ctl::output::{Fields, Look, Object, Reply, Streams, Tree, header};
use crate::ctl::session::Session;

/// `txn`
pub const COMMAND: Command = Command {
    name: "txn",
    usage: "[options]",
    short: "Txn processes all the requests in one transaction",
    long: "Txn reads requests from standard input and applies them as one atomic transaction.

It reads three lists, each ended by an empty line:
1) conditions,
2) requests to apply if all conditions hold,
3) requests to apply if any does not.

Example:

---
quoratectl txn -i
# compares:
mod(\"key1\") > \"0\"

# success requests (get, put, del):
put key1 \"overwrote-key1\"

# failure requests (get, put, del):
put key1 \"created-key1\"
put key2 \"some extra key\"
---",
    section: Some(Section::KeyValue),
    flags: Txn::augment_args,
    deed: Deed::Run(|session, matches| Box::pin(run(session, matches))),
    ..Command::PLAIN
};

#[derive(Args, Debug)]
struct Txn {
    /// Input transaction in interactive mode
    #[arg(long, short)]
    interactive: bool,
    args: Vec<std::ffi::OsString>,
}

async fn run(session: &mut Session, matches: &ArgMatches) -> Result<(), Failure> {
    let flags = Txn::from_arg_matches(matches).map_err(|error| Failure::bad_args(error.to_string()))?;
    if !flags.args.is_empty() {
        return Err(Failure::bad_args("txn command does not accept argument"));
    }
    let client = session.client().await?;
    let prompt = |session: &mut Session, text: &str| if flags.interactive { session.say(text) } else { Ok(()) };
    prompt(session, "compares:")?;
    let mut request = pb::TxnRequest::default();
    while let Some(line) = line(session.input())? {
        request.compare.push(txn_script::compare(&line)?);
    }
    prompt(session, "success requests (get, put, del):")?;
    request.success = requests(session).await?;
    prompt(session, "failure requests (get, put, del):")?;
    request.failure = requests(session).await?;
    let response = client.txn(request).await?;
    session.show(&response)
}

/// The next line of a list without the spaces around it; `None` for the empty line that ends the list.
fn line(input: &mut dyn BufRead) -> Result<Option<Vec<u8>>, Failure> {
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(Failure::new(Exit::InvalidInput, "EOF"));
    }
    let line = go::trim_space(&line);
    Ok(if line.is_empty() { None } else { Some(line.to_vec()) })
}

async fn requests(session: &mut Session) -> Result<Vec<pb::RequestOp>, Failure> {
    let mut script = Requests::new();
    let mut requests = Vec::new();
    while let Some(line) = line(session.input())? {
        let read = script.read(&line).map_err(|mut failure| {
            if let Some(usage) = failure.usage.take() {
                session.complain(usage);
            }
            failure
        });
        let request = match read? {
            Op::Put(request) => Request::RequestPut(request),
            Op::Get(request) => Request::RequestRange(request),
            Op::Del(del) => {
                let request = del.request()?;
                del.hesitate(session).await;
                Request::RequestDeleteRange(request)
            }
        };
        requests.push(pb::RequestOp { request: Some(request) });
    }
    Ok(requests)
}

impl Reply for pb::TxnResponse {
    fn simple(&self, look: Look, to: &mut Streams<'_>) -> io::Result<()> {
        to.out.write_all(if self.succeeded { b"SUCCESS\n" } else { b"FAILURE\n" })?;
        for response in &self.responses {
            to.out.write_all(b"\n")?;
            match &response.response {
                Some(Response::ResponseRange(reply)) => reply.simple(look, to)?,
                Some(Response::ResponsePut(reply)) => reply.simple(look, to)?,
                Some(Response::ResponseDeleteRange(reply)) => reply.simple(look, to)?,
                Some(Response::ResponseTxn(reply)) => reply.simple(look, to)?,
                None => {}
            }
        }
        Ok(())
    }

    fn tree(&self, look: Look) -> Tree<'_> {
        let responses = Tree::list(&self.responses, |response| {
            let (name, tree) = match &response.response {
                Some(Response::ResponseRange(reply)) => ("response_range", reply.tree(look)),
                Some(Response::ResponsePut(reply)) => ("response_put", reply.tree(look)),
                Some(Response::ResponseDeleteRange(reply)) => ("response_delete_range", reply.tree(look)),
                Some(Response::ResponseTxn(reply)) => ("response_txn", reply.tree(look)),
                None => ("", Tree::Null),
            };
            Tree::Object(Object::new().always("Response", Tree::Object(Object::new().unless_empty(name, tree))))
        });
        let object = header(Object::new(), self.header.as_ref())
            .unless_empty("succeeded", Tree::Bool(self.succeeded))
            .unless_empty("responses", responses);
        Tree::Object(object)
    }

    fn fields(&self, look: Look) -> Option<Fields> {
        let fields = Fields::of(self.header.as_ref(), look).value("Succeeded", self.succeeded);
        Some(fields.each(&self.responses, |fields, response| match &response.response {
            Some(Response::ResponseRange(reply)) => fields.then(reply.fields(look)),
            Some(Response::ResponsePut(reply)) => fields.then(reply.fields(look)),
            Some(Response::ResponseDeleteRange(reply)) => fields.then(reply.fields(look)),
            Some(Response::ResponseTxn(reply)) => fields.then(reply.fields(look)),
            None => fields,
        }))
    }

    fn protobuf(&self) -> Option<Vec<u8>> {
        Some(self.encode_to_vec())
    }
}
